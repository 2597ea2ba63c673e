# Scenes of digits, written by tools/dataset_converters/digit_scenes.py. A
# config starts from the classifier that digits.py makes of its backbone.
_base_ = './mask-rcnn_fpn_1x_coco.py'

# Neck and heads are narrow, and proposals few, for the sake of two CPU cores.
# Batch norm lets them learn faster.
model = dict(
    backbone=dict(drop_path_rate=0.0),
    neck=dict(out_channels=96, num_outs=4, norm_cfg=dict(type='BN')),
    rpn_head=dict(
        in_channels=96,
        feat_channels=96,
        # Digits are 29 to 51 pixels high.
        anchor_generator=dict(scales=[6], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=2), out_channels=96
        ),
        bbox_head=dict(in_channels=96, fc_out_channels=256, num_classes=10),
        mask_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1), out_channels=96
        ),
        mask_head=dict(
            num_convs=2,
            in_channels=96,
            conv_out_channels=64,
            num_classes=10,
            norm_cfg=dict(type='BN'),
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.5)),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=200, max_per_img=50),
        rcnn=dict(max_per_img=20),
    ),
)

data_root = 'data/digit_scenes/coco/'
metainfo = dict(
    classes=tuple('0123456789'),
    palette=[
        (31, 119, 180),
        (255, 127, 14),
        (44, 160, 44),
        (214, 39, 40),
        (148, 103, 189),
        (140, 86, 75),
        (227, 119, 194),
        (127, 127, 127),
        (188, 189, 34),
        (23, 190, 207),
    ],
)
# Scenes need no scaling, and digits may not be flipped.
train_pipeline = [
    step
    for step in _base_.train_pipeline
    if step.type not in ('Resize', 'RandomFlip')
]
test_pipeline = [
    dict(step, scale=(128, 128)) if step.type == 'Resize' else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        # Four scenes in five are enough.
        indices=1600,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root, metainfo=metainfo, pipeline=test_pipeline
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

max_epochs = 1
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(_base_.param_scheduler[0], start_factor=0.01, end=100),
    dict(
        _scope_='mmdet',
        type='CosineAnnealingLR',
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(max_keep_ckpts=2)
)
randomness = dict(seed=0)
