_base_ = './fpn_activemlp-tiny_8xb4-40k_ade20k-512x512.py'

pretrained = 'checkpoints/activemlp-small_in1k.pth'
model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint=pretrained)),
)
