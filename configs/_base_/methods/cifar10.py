# CIFAR-10 as an image folder, data/cifar10/{train,test}/<class>/*.jpg. The
# length is chosen for one GPU.
_base_ = './short.py'

train_pipeline = [
    _base_.train_pipeline[0],  # loads the image
    dict(_scope_='mmpretrain', type='RandomCrop', crop_size=32, padding=4),
    _base_.train_pipeline[2],  # flips it
    _base_.train_pipeline[-1],  # packs it
]
test_pipeline = [_base_.test_pipeline[0], _base_.test_pipeline[-1]]

data_root = 'data/cifar10'
train_dataloader = dict(
    batch_size=64, dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    batch_size=250,
    dataset=dict(
        data_root=data_root, data_prefix='test', pipeline=test_pipeline
    ),
)
test_dataloader = val_dataloader

max_epochs = 30
param_scheduler = [
    dict(_base_.param_scheduler[0], end=1),
    dict(
        _base_.param_scheduler[1],
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(logger=dict(interval=20))
