_base_ = [
    '../../_base_/methods/fpn_digits.py',
    '../../_base_/backbones/resnet18-w72.py',
]
custom_imports = dict(imports=['mmactive', 'mmactive.models.losses'])

pretrained = 'work_dirs/resnet18-w72_digits/epoch_10.pth'
model = dict(
    backbone=dict(
        _base_.backbone,
        init_cfg=dict(_base_.init_cfg, checkpoint=pretrained),
    ),
    neck=dict(in_channels=_base_.channels),
)
