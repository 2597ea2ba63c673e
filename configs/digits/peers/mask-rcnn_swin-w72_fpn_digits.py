_base_ = [
    '../../_base_/methods/mask-rcnn_fpn_digits.py',
    '../../_base_/backbones/swin-w72.py',
]
custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

pretrained = 'work_dirs/swin-w72_digits/epoch_10.pth'
model = dict(
    backbone=dict(
        _base_.backbone,
        init_cfg=dict(_base_.init_cfg, checkpoint=pretrained),
    ),
    neck=dict(in_channels=_base_.channels),
)
