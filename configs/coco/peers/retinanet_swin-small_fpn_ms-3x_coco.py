_base_ = [
    '../../_base_/methods/retinanet_fpn_ms-3x_coco.py',
    '../../_base_/backbones/swin-small.py',
]

# Swin has published no RetinaNet: PVT's setting is taken, as by Twins.
model = dict(
    backbone=dict(
        _base_.backbone, init_cfg=_base_.init_cfg, drop_path_rate=0.2
    ),
    neck=dict(in_channels=_base_.channels[1:]),
)
optim_wrapper = dict(paramwise_cfg=_base_.paramwise_cfg)
