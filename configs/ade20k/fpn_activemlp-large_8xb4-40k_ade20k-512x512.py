_base_ = './fpn_activemlp-tiny_8xb4-40k_ade20k-512x512.py'

pretrained = 'checkpoints/activemlp-large_in1k.pth'
model = dict(
    backbone=dict(arch='large', init_cfg=dict(checkpoint=pretrained)),
    neck=dict(in_channels=_base_.activemlp_large_channels),
)
