_base_ = './gfnet.py'

backbone = dict(arch='h-base')
pretrained = 'checkpoints/gfnet-h-base_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
