_base_ = './wavemlp.py'

backbone = dict(arch='small-dw')
pretrained = 'checkpoints/wavemlp-small-dw_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
