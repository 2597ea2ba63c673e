_base_ = './asmlp.py'

backbone = dict(arch='tiny')
pretrained = 'checkpoints/asmlp-tiny_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
