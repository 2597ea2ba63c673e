_base_ = [
    '../../_base_/methods/mask-rcnn_fpn_1x_coco.py',
    '../../_base_/backbones/cyclemlp-b5.py',
]

# The published dense models have no stochastic depth.
model = dict(
    backbone=dict(
        _base_.backbone, init_cfg=_base_.init_cfg, drop_path_rate=0.0
    ),
    neck=dict(in_channels=_base_.channels),
)
# PVT's weight decay, whose setting CycleMLP takes
optim_wrapper = dict(optimizer=dict(weight_decay=0.0001))
