_base_ = [
    '../models/classifier.py',
    '../datasets/imagenet_bs128_224.py',
    '../schedules/imagenet_bs1024_adamw_300e.py',
    'mmpretrain::_base_/default_runtime.py',
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
