_base_ = ['mmseg::_base_/models/fpn_r50.py', './activemlp_dense.py']

# For ADE20K's crops and classes
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(
        _base_.activemlp_backbone,
        _delete_=True,
        # Chosen after PVT; the paper names stochastic depth, but no rate.
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=_base_.activemlp_channels),
    decode_head=dict(num_classes=150),
)
