_base_ = [
    '../../_base_/methods/8xb128_pvt_in1k.py',
    '../../_base_/backbones/pvtv2-b1.py',
]

# PVT's recipe is chosen, of which PVTv2's descends.
model = dict(
    backbone=dict(
        backbone=dict(_base_.backbone, out_indices=(3,), drop_path_rate=0.1)
    ),
    head=dict(in_channels=_base_.channels[-1]),
)
