_base_ = [
    '../../_base_/methods/digits.py',
    '../../_base_/backbones/wavemlp-tiny-dw.py',
]

model = dict(
    backbone=dict(_base_.backbone, gap=True),
    head=dict(in_channels=_base_.channels[-1]),
)
