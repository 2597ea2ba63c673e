_base_ = './activemlp.py'

backbone = dict(arch='base')
pretrained = 'checkpoints/activemlp-base_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
