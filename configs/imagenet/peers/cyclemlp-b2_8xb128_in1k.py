_base_ = [
    '../../_base_/methods/8xb128_in1k.py',
    '../../_base_/backbones/cyclemlp-b2.py',
]

model = dict(
    backbone=dict(_base_.backbone, gap=True),
    head=dict(in_channels=_base_.channels[-1]),
)
