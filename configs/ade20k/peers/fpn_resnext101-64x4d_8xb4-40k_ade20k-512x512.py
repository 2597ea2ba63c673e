# The paper says ResNeXt101 only; its cells are those of 64x4d.
_base_ = './fpn_resnet50_8xb4-40k_ade20k-512x512.py'

model = dict(
    pretrained='open-mmlab://resnext101_64x4d',
    backbone=dict(type='ResNeXt', depth=101, groups=64, base_width=4),
)
