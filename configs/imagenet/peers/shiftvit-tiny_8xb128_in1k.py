_base_ = [
    '../../_base_/methods/8xb128_warm-up-20_in1k.py',
    '../../_base_/backbones/shiftvit-tiny.py',
]

model = dict(
    backbone=dict(_base_.backbone, gap=True, drop_path_rate=0.2),
    head=dict(in_channels=_base_.channels[-1]),
)
