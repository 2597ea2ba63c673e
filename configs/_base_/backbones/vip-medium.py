_base_ = './vip.py'

backbone = dict(arch='medium')
channels = [256, 256, 512, 512]
pretrained = 'checkpoints/vip-medium_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
