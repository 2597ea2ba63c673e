_base_ = './morphmlp.py'

backbone = dict(arch='base')
pretrained = 'checkpoints/morphmlp-base_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
