_base_ = [
    '../../_base_/methods/retinanet_fpn_1x_coco.py',
    '../../_base_/backbones/wavemlp-small-dw.py',
]

model = dict(
    backbone=dict(_base_.backbone, init_cfg=_base_.init_cfg),
    neck=dict(in_channels=_base_.channels[1:]),
)
