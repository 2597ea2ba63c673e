_base_ = [
    '../../_base_/methods/mask-rcnn_fpn_ms-1x_coco.py',
    '../../_base_/backbones/swin-tiny.py',
]

model = dict(
    backbone=dict(
        _base_.backbone, init_cfg=_base_.init_cfg, drop_path_rate=0.1
    ),
    neck=dict(in_channels=_base_.channels),
)
optim_wrapper = dict(paramwise_cfg=_base_.paramwise_cfg)
