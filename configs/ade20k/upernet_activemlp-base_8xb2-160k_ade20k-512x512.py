_base_ = './upernet_activemlp-tiny_8xb2-160k_ade20k-512x512.py'

pretrained = 'checkpoints/activemlp-base_in1k.pth'
model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint=pretrained)),
)
