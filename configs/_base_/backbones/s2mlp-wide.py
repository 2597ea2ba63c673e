_base_ = './s2mlp.py'

backbone = dict(arch='wide')
pretrained = 'checkpoints/s2mlp-wide_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
