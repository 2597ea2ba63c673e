_base_ = './shiftvit.py'

backbone = dict(arch='small')
pretrained = 'checkpoints/shiftvit-small_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
