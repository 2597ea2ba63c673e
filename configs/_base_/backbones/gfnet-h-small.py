_base_ = './gfnet.py'

backbone = dict(arch='h-small')
pretrained = 'checkpoints/gfnet-h-small_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
