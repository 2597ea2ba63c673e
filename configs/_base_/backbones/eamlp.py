# What the variants of EAMLP share.
custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

backbone = dict(type='mmactive.EAMLP')
channels = [384]
# A checkpoint of an ImageNet config, trained here or made from a published one
# by tools/model_converters
init_cfg = dict(type='Pretrained', prefix='backbone.')
