# What the variants of P2T share. The paper's rows are those of the first
# release.
custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

backbone = dict(type='mmactive.P2T')
channels = [64, 128, 320, 512]  # of the four stages
# A checkpoint of an ImageNet config, trained here or made from a published one
# by tools/model_converters
init_cfg = dict(type='Pretrained', prefix='backbone.')
