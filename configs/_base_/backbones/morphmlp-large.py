_base_ = './morphmlp.py'

backbone = dict(arch='large')
pretrained = 'checkpoints/morphmlp-large_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
