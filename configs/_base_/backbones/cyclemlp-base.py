_base_ = './cyclemlp-tiny.py'

backbone = dict(arch='base')
channels = [128, 256, 512, 1024]
pretrained = 'checkpoints/cyclemlp-base_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
