_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    './activemlp_dense.py',
]

model = dict(
    backbone=dict(
        _base_.activemlp_backbone,
        _delete_=True,
        # RetinaNet leaves the first stage out. Distributed training stops at a
        # parameter without gradient, as norm0 would be.
        out_indices=(1, 2, 3),
        # Chosen after PVT; the paper names stochastic depth, but no rate.
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=_base_.activemlp_channels[1:], start_level=0),
)
