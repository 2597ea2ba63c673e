_base_ = [
    '../../_base_/methods/16xb64_in1k.py',
    '../../_base_/backbones/vip-small.py',
]

model = dict(
    backbone=dict(_base_.backbone, gap=True),
    head=dict(in_channels=_base_.channels[-1]),
)
