_base_ = './cyclemlp.py'

backbone = dict(arch='b5')
channels = [96, 192, 384, 768]
pretrained = 'checkpoints/cyclemlp-b5_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
