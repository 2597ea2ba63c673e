_base_ = [
    '../../_base_/methods/fpn_8xb4-40k_ade20k-512x512.py',
    '../../_base_/backbones/gfnet-h-tiny.py',
]

# Filters for the crops; those of the checkpoint are resized.
model = dict(
    backbone=dict(_base_.backbone, img_size=512, init_cfg=_base_.init_cfg),
    neck=dict(in_channels=_base_.channels),
)
