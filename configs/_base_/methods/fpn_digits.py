# Scenes of digits, written by tools/dataset_converters/digit_scenes.py. A
# config starts from the classifier that digits.py makes of its backbone.
_base_ = './fpn_short.py'

crop_size = (96, 96)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(drop_path_rate=0.0),
    # Narrow enough for two CPU cores.
    neck=dict(out_channels=64),
    decode_head=dict(
        in_channels=[64] * 4,
        channels=64,
        dropout_ratio=0.0,
        num_classes=11,
        # Nine pixels in ten are background, and drown what tells digits
        # apart.
        loss_decode=dict(
            type='mmactive.CrossEntropyLoss', class_weight=[0.4] + [1.0] * 10
        ),
    ),
)

dataset_type = 'BaseSegDataset'
data_root = 'data/digit_scenes/ade20k'
metainfo = dict(
    classes=('background', *'0123456789'),
    palette=[
        [0, 0, 0],
        [31, 119, 180],
        [255, 127, 14],
        [44, 160, 44],
        [214, 39, 40],
        [148, 103, 189],
        [140, 86, 75],
        [227, 119, 194],
        [127, 127, 127],
        [188, 189, 34],
        [23, 190, 207],
    ],
)
# Scenes need no scaling, and digits may not be flipped. Crops with more digits
# teach more; the training is too short to gain from distorted colours.
train_pipeline = [
    dict(step, crop_size=crop_size, cat_max_ratio=0.85)
    if step.type == 'RandomCrop'
    else step
    for step in _base_.train_pipeline
    if step.type not in ('RandomResize', 'RandomFlip', 'PhotoMetricDistortion')
]
test_pipeline = [
    step for step in _base_.test_pipeline if step.type != 'Resize'
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        img_suffix='.jpg',
        seg_map_suffix='.png',
        reduce_zero_label=True,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        img_suffix='.jpg',
        seg_map_suffix='.png',
        reduce_zero_label=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

max_iters = 1000
optim_wrapper = dict(optimizer=dict(lr=1e-3, fused=True))
param_scheduler = [
    dict(_base_.param_scheduler[0], end=50),
    dict(_base_.param_scheduler[1], begin=50, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(checkpoint=dict(interval=200))
# Leaves the image visible below what is drawn on it.
visualizer = dict(alpha=0.5)
