_base_ = [
    '../_base_/models/activemlp_classifier.py',
    '../_base_/datasets/imagenet_bs128_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_300e.py',
    '../_base_/imagenet_runtime.py',
]
