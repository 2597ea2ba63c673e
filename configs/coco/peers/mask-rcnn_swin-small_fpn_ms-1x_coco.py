_base_ = [
    '../../_base_/methods/mask-rcnn_fpn_ms-1x_coco.py',
    '../../_base_/backbones/swin-small.py',
]

model = dict(
    backbone=dict(_base_.backbone, init_cfg=_base_.init_cfg),
    neck=dict(in_channels=_base_.channels),
)
optim_wrapper = dict(paramwise_cfg=_base_.paramwise_cfg)
