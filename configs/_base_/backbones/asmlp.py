# What the variants of ASMLP share.
custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

backbone = dict(type='mmactive.ASMLP')
channels = [96, 192, 384, 768]  # of the four stages
# A checkpoint of an ImageNet config, trained here or made from a published one
# by tools/model_converters
init_cfg = dict(type='Pretrained', prefix='backbone.')

# No weight decay on norms, as Swin's dense models; biases decay.
paramwise_cfg = dict(custom_keys={'norm': dict(decay_mult=0.0)})
