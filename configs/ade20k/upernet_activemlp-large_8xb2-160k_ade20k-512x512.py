_base_ = './upernet_activemlp-tiny_8xb2-160k_ade20k-512x512.py'

pretrained = 'checkpoints/activemlp-large_in1k.pth'
model = dict(
    backbone=dict(arch='large', init_cfg=dict(checkpoint=pretrained)),
    decode_head=dict(in_channels=_base_.activemlp_large_channels),
    auxiliary_head=dict(in_channels=_base_.activemlp_large_channels[2]),
)
