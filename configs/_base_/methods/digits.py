# scikit-learn's digits, written by tools/dataset_converters/digits.py.
_base_ = './short.py'

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
train_dataloader = dict(
    batch_size=16, dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    batch_size=120,
    dataset=dict(
        data_root=data_root, data_prefix='val', pipeline=test_pipeline
    ),
)
test_dataloader = val_dataloader

max_epochs = 10
param_scheduler = [
    dict(_base_.param_scheduler[0], end=2),
    dict(
        _base_.param_scheduler[1],
        begin=2,
        end=max_epochs,
        T_max=max_epochs - 2,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=16)
default_hooks = dict(logger=dict(interval=30))
