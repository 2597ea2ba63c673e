_base_ = './wavemlp.py'

backbone = dict(arch='tiny-dw')
pretrained = 'checkpoints/wavemlp-tiny-dw_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
