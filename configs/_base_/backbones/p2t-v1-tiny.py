_base_ = './p2t.py'

backbone = dict(arch='v1-tiny')
pretrained = 'checkpoints/p2t-v1-tiny_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
