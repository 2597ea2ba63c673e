_base_ = './cyclemlp.py'

backbone = dict(arch='b1')
pretrained = 'checkpoints/cyclemlp-b1_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
