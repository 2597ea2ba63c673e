_base_ = [
    '../../_base_/methods/digits.py',
    '../../_base_/backbones/swin-w72.py',
]

model = dict(
    backbone=dict(_base_.backbone, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=_base_.channels[-1]),
)
