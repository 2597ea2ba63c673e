_base_ = './gfnet.py'

backbone = dict(arch='h-tiny')
channels = [64, 128, 256, 512]
pretrained = 'checkpoints/gfnet-h-tiny_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
