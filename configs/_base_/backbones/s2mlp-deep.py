_base_ = './s2mlp.py'

backbone = dict(arch='deep')
channels = [384]
pretrained = 'checkpoints/s2mlp-deep_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
