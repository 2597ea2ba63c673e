_base_ = './activemlp.py'

backbone = dict(arch='tiny')
pretrained = 'checkpoints/activemlp-tiny_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
