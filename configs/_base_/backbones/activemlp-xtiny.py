_base_ = './activemlp.py'

backbone = dict(arch='xtiny')
pretrained = 'checkpoints/activemlp-xtiny_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
