# Table 7, row 4: one offset an axis for all channels.
_base_ = './activemlp-tiny-star.py'

backbone = dict(arch=dict(shared_channels=[64, 128, 320, 512]))
pretrained = 'checkpoints/activemlp-tiny-star-one-offset_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
