# A config puts its backbone in, and the channels of its four stages.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        out_indices=(0, 1, 2, 3),
        # Chosen after Swin; the paper names stochastic depth, but no rate.
        drop_path_rate=0.2,
    ),
)
