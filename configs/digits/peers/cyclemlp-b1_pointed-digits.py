_base_ = [
    '../../_base_/methods/pointed_digits.py',
    '../../_base_/backbones/cyclemlp-b1.py',
]

model = dict(
    backbone=dict(_base_.backbone, gap=True),
    head=dict(in_channels=_base_.channels[-1]),
)
load_from = 'work_dirs/cyclemlp-b1_digits/epoch_10.pth'
