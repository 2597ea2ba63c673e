_base_ = ['mmseg::_base_/models/upernet_r50.py', './activemlp_dense.py']

model = dict(
    pretrained=None,
    backbone=dict(
        _base_.activemlp_backbone,
        _delete_=True,
        # Documented for Large, taken for the others.
        drop_path_rate=0.2,
    ),
    decode_head=dict(in_channels=_base_.activemlp_channels),
    auxiliary_head=dict(in_channels=_base_.activemlp_channels[2]),
)
