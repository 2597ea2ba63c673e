_base_ = './vip.py'

backbone = dict(arch='large')
pretrained = 'checkpoints/vip-large_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
