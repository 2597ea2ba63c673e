# What short trainings on one machine share, of classifiers of ten classes with
# a folder of images for each. Data, lengths and sizes of batches are theirs.
_base_ = './8xb128_in1k.py'

# Neither stochastic depth nor mixup and cutmix: the training is short.
model = dict(
    backbone=dict(drop_path_rate=0.0),
    head=dict(num_classes=10),
    train_cfg=None,
)
data_preprocessor = dict(num_classes=10)

# Loading takes next to no time, so no processes are started for it.
train_dataloader = dict(
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
        data_prefix='train',
    ),
)
val_dataloader = dict(
    num_workers=0,
    dataset=dict(_delete_=True, _scope_='mmpretrain', type='CustomDataset'),
)
val_evaluator = dict(topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], convert_to_iter_based=True),
]
# The average over some 60,000 iterations would not leave the start here.
custom_hooks = []
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
randomness = dict(seed=0)
