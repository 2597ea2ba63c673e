# A config puts its backbone in, and the head's channels.
# The scope is for those who inherit by `mmactive::`, as all over here.
model = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    # Documented for ActiveMLP-xTiny only. For its other variants it is chosen,
    # after DeiT, from which the paper takes most of its training strategy.
    backbone=dict(drop_path_rate=0.1),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
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
