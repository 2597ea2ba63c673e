_base_ = [
    '../../_base_/methods/fpn_8xb4-40k_ade20k-512x512.py',
    '../../_base_/backbones/morphmlp-tiny.py',
]

model = dict(
    backbone=dict(_base_.backbone, init_cfg=_base_.init_cfg),
    neck=dict(in_channels=_base_.channels),
)
optim_wrapper = dict(optimizer=dict(lr=0.0001))
param_scheduler = [
    dict(
        _scope_='mmseg', type='CosineAnnealingLR', T_max=40000, by_epoch=False
    )
]
