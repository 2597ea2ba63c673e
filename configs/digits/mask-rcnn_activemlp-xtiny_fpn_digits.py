_base_ = [
    '../_base_/methods/mask-rcnn_fpn_digits.py',
    '../_base_/backbones/activemlp-xtiny.py',
]

pretrained = 'work_dirs/activemlp-xtiny_digits/epoch_10.pth'
model = dict(
    backbone=dict(
        _base_.backbone,
        init_cfg=dict(_base_.init_cfg, checkpoint=pretrained),
    ),
    neck=dict(in_channels=_base_.channels),
)
optim_wrapper = dict(paramwise_cfg=_base_.paramwise_cfg)
