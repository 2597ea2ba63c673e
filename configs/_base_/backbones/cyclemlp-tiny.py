# A reconstruction from the paper's numbers: T, S and B were published without
# code or settings.
_base_ = './cyclemlp.py'

backbone = dict(arch='tiny')
channels = [96, 192, 384, 768]
pretrained = 'checkpoints/cyclemlp-tiny_in1k.pth'
init_cfg = dict(checkpoint=pretrained)

# No weight decay on norms, as Swin's dense models; biases decay.
paramwise_cfg = dict(custom_keys={'norm': dict(decay_mult=0.0)})
