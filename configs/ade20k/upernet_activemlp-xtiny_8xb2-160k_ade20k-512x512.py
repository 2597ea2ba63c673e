_base_ = './upernet_activemlp-tiny_8xb2-160k_ade20k-512x512.py'

pretrained = 'checkpoints/activemlp-xtiny_in1k.pth'
model = dict(
    backbone=dict(arch='xtiny', init_cfg=dict(checkpoint=pretrained)),
)
