_base_ = './asmlp.py'

backbone = dict(arch='small')
pretrained = 'checkpoints/asmlp-small_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
