_base_ = [
    '../../_base_/methods/upernet_8xb2-160k_ade20k-512x512.py',
    '../../_base_/backbones/asmlp-small.py',
]

model = dict(
    backbone=dict(
        _base_.backbone, init_cfg=_base_.init_cfg, drop_path_rate=0.3
    ),
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]),
)
optim_wrapper = dict(paramwise_cfg=_base_.paramwise_cfg)
