# Swin's recipe: 20 epochs of warm-up, no repeated augmentation and no average
# of the weights.
_base_ = [
    '../models/classifier.py',
    '../datasets/imagenet_bs64_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    'mmpretrain::_base_/default_runtime.py',
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
