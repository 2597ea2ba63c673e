_base_ = './vip.py'

backbone = dict(arch='small')
channels = [192, 384, 384, 384]
pretrained = 'checkpoints/vip-small_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
