_base_ = [
    '../../_base_/methods/fpn_8xb4-40k_ade20k-512x512.py',
    '../../_base_/backbones/swin-small.py',
]

# Swin has published no Semantic FPN: PVT's setting is taken, as by Twins.
model = dict(
    backbone=dict(_base_.backbone, init_cfg=_base_.init_cfg),
    neck=dict(in_channels=_base_.channels),
)
optim_wrapper = dict(paramwise_cfg=_base_.paramwise_cfg)
