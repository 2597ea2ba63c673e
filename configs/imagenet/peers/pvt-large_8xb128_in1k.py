_base_ = [
    '../../_base_/methods/8xb128_pvt_in1k.py',
    '../../_base_/backbones/pvt-large.py',
]

model = dict(
    backbone=dict(
        backbone=dict(_base_.backbone, out_indices=(3,), drop_path_rate=0.3)
    ),
    head=dict(in_channels=_base_.channels[-1]),
)
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
