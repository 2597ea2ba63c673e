_base_ = [
    '../../_base_/methods/16xb64_in1k.py',
    '../../_base_/backbones/cyclemlp-base.py',
]

# Recipe and rate are chosen, after Swin-B, which its authors followed.
model = dict(
    backbone=dict(_base_.backbone, gap=True, drop_path_rate=0.5),
    head=dict(in_channels=_base_.channels[-1]),
)
