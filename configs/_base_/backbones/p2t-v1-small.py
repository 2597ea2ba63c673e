_base_ = './p2t.py'

backbone = dict(arch='v1-small')
pretrained = 'checkpoints/p2t-v1-small_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
