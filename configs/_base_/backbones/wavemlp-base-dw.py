_base_ = './wavemlp.py'

backbone = dict(arch='base-dw')
channels = [96, 192, 384, 768]
pretrained = 'checkpoints/wavemlp-base-dw_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
