_base_ = './cyclemlp.py'

backbone = dict(arch='b3')
pretrained = 'checkpoints/cyclemlp-b3_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
