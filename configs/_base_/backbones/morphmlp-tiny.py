_base_ = './morphmlp.py'

backbone = dict(arch='tiny')
channels = [84, 168, 336, 588]
pretrained = 'checkpoints/morphmlp-tiny_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
