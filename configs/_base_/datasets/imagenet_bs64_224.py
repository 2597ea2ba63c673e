# RandAugment (rand-m9-mstd0.5-inc1), random erasing (0.25, pixels) and the
# test at 256 -> 224, all bicubic. Colour jitter is left out: timm switches it
# off beside RandAugment, which has colour operations itself.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

data_root = 'data/imagenet'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
