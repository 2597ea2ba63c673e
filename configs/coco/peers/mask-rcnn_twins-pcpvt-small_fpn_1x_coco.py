_base_ = [
    '../../_base_/methods/mask-rcnn_fpn_1x_coco.py',
    '../../_base_/backbones/twins-pcpvt-small.py',
]

model = dict(
    backbone=dict(_base_.backbone, init_cfg=_base_.init_cfg),
    neck=dict(in_channels=_base_.channels),
)
# Twins' optimizer
optim_wrapper = dict(optimizer=dict(lr=0.0002, weight_decay=0.0001))
