# Needs timm, as its base.
_base_ = './resmlp-s12_8xb128_in1k.py'

model = dict(model_name='resmlp_24_224')
