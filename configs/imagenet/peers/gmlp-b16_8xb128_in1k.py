# Needs timm, as its base.
_base_ = './gmlp-s16_8xb128_in1k.py'

model = dict(model_name='gmlp_b16_224')
