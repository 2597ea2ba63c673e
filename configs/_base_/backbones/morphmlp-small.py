_base_ = './morphmlp.py'

backbone = dict(arch='small')
pretrained = 'checkpoints/morphmlp-small_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
