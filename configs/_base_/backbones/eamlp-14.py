_base_ = './eamlp.py'

backbone = dict(arch='14')
pretrained = 'checkpoints/eamlp-14_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
