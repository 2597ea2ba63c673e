# CamVid's road scenes of 480 x 360 pixels, as {images,annotations}/
# {train,val,test}/<name>.{jpg,png} with labels 0 to 10 and 11 for none. A
# config starts from the classifier that cifar10.py makes of its backbone. The
# length is chosen for one GPU, and nothing has been tuned.
_base_ = './fpn_short.py'

crop_size = (320, 320)
no_label = 11
model = dict(
    data_preprocessor=dict(size=crop_size, seg_pad_val=no_label),
    decode_head=dict(num_classes=11, ignore_index=no_label),
)

data_root = 'data/camvid'
metainfo = dict(
    classes=(
        *('sky', 'building', 'pole', 'road', 'pavement', 'tree'),
        *('sign', 'fence', 'car', 'pedestrian', 'bicyclist'),
    ),
    palette=[
        [128, 128, 128],
        [128, 0, 0],
        [192, 192, 128],
        [128, 64, 128],
        [60, 40, 222],
        [128, 128, 0],
        [192, 128, 128],
        [64, 64, 128],
        [64, 0, 128],
        [64, 64, 0],
        [0, 128, 192],
    ],
)
load = [
    dict(_scope_='mmseg', type='LoadImageFromFile'),
    dict(_scope_='mmseg', type='LoadAnnotations', reduce_zero_label=False),
]
pack = dict(_scope_='mmseg', type='PackSegInputs')
train_pipeline = [
    *load,
    dict(
        _scope_='mmseg',
        type='RandomResize',
        scale=(480, 360),
        ratio_range=(0.9, 1.5),
        keep_ratio=True,
    ),
    dict(
        _scope_='mmseg',
        type='RandomCrop',
        crop_size=crop_size,
        cat_max_ratio=0.75,
        ignore_index=no_label,
    ),
    dict(_scope_='mmseg', type='RandomFlip', prob=0.5),
    dict(_scope_='mmseg', type='PhotoMetricDistortion'),
    pack,
]
test_pipeline = [*load, pack]
dataset = dict(
    _delete_=True,
    _scope_='mmseg',
    type='BaseSegDataset',
    data_root=data_root,
    metainfo=metainfo,
    img_suffix='.jpg',
    seg_map_suffix='.png',
    ignore_index=no_label,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        dataset,
        data_prefix=dict(
            img_path='images/train', seg_map_path='annotations/train'
        ),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        dataset,
        data_prefix=dict(
            img_path='images/val', seg_map_path='annotations/val'
        ),
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        dataset,
        data_prefix=dict(
            img_path='images/test', seg_map_path='annotations/test'
        ),
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(ignore_index=no_label)
test_evaluator = val_evaluator

max_iters = 4000
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(_base_.param_scheduler[0], end=200),
    dict(_base_.param_scheduler[1], begin=200, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(checkpoint=dict(interval=1000))
