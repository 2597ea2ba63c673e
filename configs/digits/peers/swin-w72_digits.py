_base_ = [
    '../../_base_/methods/digits.py',
    '../../_base_/backbones/swin-w72.py',
]

model = dict(
    backbone=dict(
        _base_.backbone,
        out_indices=(3,),
        # As Swin's are; the class leaves it to the config.
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=_base_.channels[-1]),
)
# A fifth of the others'; with 1e-3 its classifier does not learn.
optim_wrapper = dict(optimizer=dict(lr=2e-4))
