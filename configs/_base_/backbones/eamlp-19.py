_base_ = './eamlp.py'

backbone = dict(arch='19')
channels = [448]
pretrained = 'checkpoints/eamlp-19_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
