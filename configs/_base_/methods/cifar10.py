# CIFAR-10 as an image folder, data/cifar10/{train,test}/<class>/*.jpg. The
# length is chosen for one GPU.
_base_ = './8xb128_in1k.py'

# Neither stochastic depth nor mixup and cutmix: the training is short.
model = dict(
    backbone=dict(drop_path_rate=0.0),
    head=dict(num_classes=10),
    train_cfg=None,
)
data_preprocessor = dict(num_classes=10)

train_pipeline = [
    _base_.train_pipeline[0],  # loads the image
    dict(_scope_='mmpretrain', type='RandomCrop', crop_size=32, padding=4),
    _base_.train_pipeline[2],  # flips it
    _base_.train_pipeline[-1],  # packs it
]
test_pipeline = [_base_.test_pipeline[0], _base_.test_pipeline[-1]]

data_root = 'data/cifar10'
train_dataloader = dict(
    batch_size=64,
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
    batch_size=250,
    num_workers=0,
    dataset=dict(
        _delete_=True,
        _scope_='mmpretrain',
        type='CustomDataset',
        data_root=data_root,
        data_prefix='test',
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

max_epochs = 30
param_scheduler = [
    dict(_base_.param_scheduler[0], end=1),
    dict(
        _base_.param_scheduler[1],
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
auto_scale_lr = dict(base_batch_size=64)

# The average over some 60,000 iterations would not leave the start here.
custom_hooks = []
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(max_keep_ckpts=2),
)
randomness = dict(seed=0)
