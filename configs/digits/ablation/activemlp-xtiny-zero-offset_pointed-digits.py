_base_ = [
    '../../_base_/methods/pointed_digits.py',
    '../../_base_/backbones/activemlp-xtiny-zero-offset.py',
]

model = dict(
    backbone=dict(_base_.backbone, gap=True),
    head=dict(in_channels=_base_.channels[-1]),
)
optim_wrapper = dict(paramwise_cfg=_base_.paramwise_cfg)
load_from = 'work_dirs/activemlp-xtiny-zero-offset_digits/epoch_10.pth'
