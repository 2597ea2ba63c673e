_base_ = './imagenet_bs64_224.py'

train_dataloader = dict(
    batch_size=128,
    # Each image occurs three times in a global batch, augmented differently.
    sampler=dict(
        _delete_=True,
        _scope_='mmpretrain',
        type='RepeatAugSampler',
        shuffle=True,
        num_repeats=3,
    ),
)
val_dataloader = dict(batch_size=128)
test_dataloader = val_dataloader
