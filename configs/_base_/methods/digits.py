# scikit-learn's digits, written by tools/dataset_converters/digits.py.
_base_ = './8xb128_in1k.py'

# Neither stochastic depth nor mixup and cutmix: the training is short.
model = dict(
    backbone=dict(drop_path_rate=0.0),
    head=dict(num_classes=10),
    train_cfg=None,
)
data_preprocessor = dict(num_classes=10)

# As large as in the scenes that the other two configs go on with.
resize = dict(
    _scope_='mmpretrain', type='Resize', scale=48, interpolation='bicubic'
)
train_pipeline = [
    _base_.train_pipeline[0],  # loads the image
    resize,
    dict(_scope_='mmpretrain', type='NumpyToPIL', to_rgb=True),
    dict(
        _scope_='mmpretrain',
        type='torchvision/RandomAffine',
        degrees=10,
        translate=(0.15, 0.15),
        scale=(0.6, 1.1),
        shear=10,
        interpolation='bilinear',
    ),
    dict(
        _scope_='mmpretrain',
        type='torchvision/ColorJitter',
        brightness=0.5,
        contrast=0.5,
    ),
    dict(_scope_='mmpretrain', type='PILToNumpy', to_bgr=True),
    _base_.train_pipeline[-1],  # packs it
]
test_pipeline = [_base_.test_pipeline[0], resize, _base_.test_pipeline[-1]]

data_root = 'data/digits'
# Loading takes next to no time, so no processes are started for it.
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(
        _delete_=True,
        _scope_='mmpretrain',
        type='DefaultSampler',
        shuffle=True,
    ),
    dataset=dict(
        _delete_=True,
        _scope_='mmpretrain',
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=120,
    num_workers=0,
    dataset=dict(
        _delete_=True,
        _scope_='mmpretrain',
        type='CustomDataset',
        data_root=data_root,
        data_prefix='val',
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

max_epochs = 10
param_scheduler = [
    dict(_base_.param_scheduler[0], end=2),
    dict(
        _base_.param_scheduler[1],
        begin=2,
        end=max_epochs,
        T_max=max_epochs - 2,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=16)

# The average over some 60,000 iterations would not leave the start here.
custom_hooks = []
default_hooks = dict(
    logger=dict(interval=30),
    checkpoint=dict(max_keep_ckpts=2),
)
randomness = dict(seed=0)
