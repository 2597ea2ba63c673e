_base_ = [
    '../../_base_/methods/cifar10.py',
    '../../_base_/backbones/activemlp-xtiny-star.py',
]

model = dict(
    backbone=dict(_base_.backbone, gap=True),
    head=dict(in_channels=_base_.channels[-1]),
)
optim_wrapper = dict(paramwise_cfg=_base_.paramwise_cfg)
