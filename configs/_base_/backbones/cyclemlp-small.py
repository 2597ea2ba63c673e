_base_ = './cyclemlp-tiny.py'

backbone = dict(arch='small')
channels = [96, 192, 384, 768]
pretrained = 'checkpoints/cyclemlp-small_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
