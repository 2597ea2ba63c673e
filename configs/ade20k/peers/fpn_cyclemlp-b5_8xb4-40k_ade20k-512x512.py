_base_ = [
    '../../_base_/methods/fpn_8xb4-40k_ade20k-512x512.py',
    '../../_base_/backbones/cyclemlp-b5.py',
]

# The published dense models have no stochastic depth.
model = dict(
    backbone=dict(
        _base_.backbone, init_cfg=_base_.init_cfg, drop_path_rate=0.0
    ),
    neck=dict(in_channels=_base_.channels),
)
