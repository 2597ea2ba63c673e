_base_ = ['mmseg::_base_/datasets/ade20k.py']

# Multi-scale inference scales the size of single-scale inference, as Swin's.
# The base scales images as they are stored.
tta_pipeline = [
    dict(_scope_='mmseg', type='LoadImageFromFile', backend_args=None),
    dict(
        _scope_='mmseg',
        type='TestTimeAug',
        transforms=[
            [
                dict(
                    type='Resize',
                    scale=(int(2048 * ratio), int(512 * ratio)),
                    keep_ratio=True,
                )
                for ratio in _base_.img_ratios
            ],
            [
                dict(type='RandomFlip', prob=prob, direction='horizontal')
                for prob in (0.0, 1.0)
            ],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
