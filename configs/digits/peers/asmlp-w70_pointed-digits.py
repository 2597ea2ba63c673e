_base_ = [
    '../../_base_/methods/pointed_digits.py',
    '../../_base_/backbones/asmlp-w70.py',
]

model = dict(
    backbone=dict(_base_.backbone, gap=True),
    head=dict(in_channels=_base_.channels[-1]),
)
load_from = 'work_dirs/asmlp-w70_digits/epoch_10.pth'
