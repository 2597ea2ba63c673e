_base_ = './cyclemlp.py'

backbone = dict(arch='b2')
pretrained = 'checkpoints/cyclemlp-b2_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
