_base_ = './gfnet.py'

backbone = dict(arch='base')
channels = [512]
pretrained = 'checkpoints/gfnet-base_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
