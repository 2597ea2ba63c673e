_base_ = ['mmseg::_base_/models/upernet_r50.py', './activemlp_dense.py']

# For ADE20K's crops and classes
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(
        _base_.activemlp_backbone,
        _delete_=True,
        # Documented for Large, taken for the others.
        drop_path_rate=0.2,
    ),
    decode_head=dict(in_channels=_base_.activemlp_channels, num_classes=150),
    auxiliary_head=dict(
        in_channels=_base_.activemlp_channels[2], num_classes=150
    ),
)
