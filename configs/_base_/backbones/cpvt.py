# What the variants of CPVT share. There is no official code.
custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

backbone = dict(type='mmactive.CPVT')
channels = [768]
# A checkpoint of an ImageNet config, trained here or made from a published one
# by tools/model_converters
init_cfg = dict(type='Pretrained', prefix='backbone.')
