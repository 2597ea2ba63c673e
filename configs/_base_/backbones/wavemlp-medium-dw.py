_base_ = './wavemlp.py'

backbone = dict(arch='medium-dw')
pretrained = 'checkpoints/wavemlp-medium-dw_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
