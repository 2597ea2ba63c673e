_base_ = './cpvt.py'

backbone = dict(arch='base')
pretrained = 'checkpoints/cpvt-base_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
