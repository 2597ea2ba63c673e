# What the variants of ActiveMLP share.
custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

backbone = dict(type='mmactive.ActiveMLP')
channels = [64, 128, 320, 512]  # of the four stages

# A checkpoint of an ImageNet config, trained here or made from a released one
# by tools/model_converters. Its head is dropped. Its last norm becomes norm3;
# norm0 to norm2 start fresh. (The released models start all four fresh.)
init_cfg = dict(type='Pretrained', prefix='backbone.')

# No weight decay on norms, biases and the positional encoding generators
paramwise_cfg = dict(
    norm_decay_mult=0.0,
    bias_decay_mult=0.0,
    custom_keys={'.peg.': dict(decay_mult=0.0)},
)
