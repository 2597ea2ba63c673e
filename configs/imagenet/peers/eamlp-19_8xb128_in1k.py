_base_ = [
    '../../_base_/methods/8xb128_in1k.py',
    '../../_base_/backbones/eamlp-19.py',
]

# How this variant was trained is not published; the recipe is chosen, as
# ActiveMLP's.
model = dict(
    backbone=dict(_base_.backbone, gap=True),
    head=dict(in_channels=_base_.channels[-1]),
)
