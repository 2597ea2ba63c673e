_base_ = './shiftvit.py'

backbone = dict(arch='tiny')
pretrained = 'checkpoints/shiftvit-tiny_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
