_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    './activemlp_dense.py',
]

model = dict(
    backbone=dict(
        _base_.activemlp_backbone,
        _delete_=True,
        # Chosen after Swin; the paper names stochastic depth, but no rate.
        drop_path_rate=0.2,
    ),
    neck=dict(in_channels=_base_.activemlp_channels),
)
