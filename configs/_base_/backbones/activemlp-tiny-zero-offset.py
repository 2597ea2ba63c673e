# Table 7, row 1: all offsets are zero.
_base_ = './activemlp-tiny-star.py'

backbone = dict(arch=dict(interval=None))
pretrained = 'checkpoints/activemlp-tiny-zero-offset_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
