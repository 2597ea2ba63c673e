_base_ = './cyclemlp.py'

backbone = dict(arch='b4')
pretrained = 'checkpoints/cyclemlp-b4_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
