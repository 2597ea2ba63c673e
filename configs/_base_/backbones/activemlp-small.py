_base_ = './activemlp.py'

backbone = dict(arch='small')
pretrained = 'checkpoints/activemlp-small_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
