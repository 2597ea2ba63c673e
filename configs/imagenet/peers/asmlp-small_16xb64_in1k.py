_base_ = [
    '../../_base_/methods/16xb64_in1k.py',
    '../../_base_/backbones/asmlp-small.py',
]

model = dict(
    backbone=dict(_base_.backbone, gap=True, drop_path_rate=0.3),
    head=dict(in_channels=_base_.channels[-1]),
)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
