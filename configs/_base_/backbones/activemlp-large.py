_base_ = './activemlp.py'

backbone = dict(arch='large')
channels = [96, 192, 384, 768]
pretrained = 'checkpoints/activemlp-large_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
