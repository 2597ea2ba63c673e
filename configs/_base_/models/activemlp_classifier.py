# The scope is for those who inherit by `mmactive::`, as all over here.
model = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    backbone=dict(
        type='mmactive.ActiveMLP',
        arch='tiny',
        gap=True,
        # Documented for xTiny only. For the other variants it is chosen, after
        # DeiT, from which the paper takes most of its training strategy.
        drop_path_rate=0.1,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=512,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
        loss=dict(
            type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'
        ),
        cal_acc=False,
    ),
    # One of the two for each batch, with equal probability
    train_cfg=dict(
        augments=[
            dict(type='Mixup', alpha=0.8),
            dict(type='CutMix', alpha=1.0),
        ]
    ),
)
