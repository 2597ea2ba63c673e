_base_ = [
    '../../_base_/methods/retinanet_fpn_1x_coco.py',
    '../../_base_/backbones/twins-svt-small.py',
]

model = dict(
    backbone=dict(
        _base_.backbone,
        norm_after_stage=[False, True, True, True],
        init_cfg=_base_.init_cfg,
        drop_path_rate=0.2,
    ),
    neck=dict(in_channels=_base_.channels[1:]),
)
