# What the variants of WaveMLP share.
# The rows of Tables 3 and 5 are the variants whose phases are predicted by
# depthwise convolutions: the published numbers are (nearly) theirs.
custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

backbone = dict(type='mmactive.WaveMLP')
channels = [64, 128, 320, 512]  # of the four stages
# A checkpoint of an ImageNet config, trained here or made from a published one
# by tools/model_converters
init_cfg = dict(type='Pretrained', prefix='backbone.')
