_base_ = [
    '../../_base_/methods/8xb128_in1k.py',
    '../../_base_/backbones/cpvt-base.py',
]

# DeiT's recipe, as all of CPVT; the average of the weights is ActiveMLP's.
model = dict(
    backbone=dict(_base_.backbone, gap=True),
    head=dict(in_channels=_base_.channels[-1]),
)
# Nor does the positional encoding generator decay.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'.pegs': dict(decay_mult=0.0)})
)
