# A config puts its backbone in, and the channels of its last three stages.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        # RetinaNet leaves the first stage out. Distributed training stops at a
        # parameter without gradient, as a norm of that stage would be.
        out_indices=(1, 2, 3),
        # Chosen after PVT; the paper names stochastic depth, but no rate.
        drop_path_rate=0.1,
    ),
    neck=dict(start_level=0),
)
