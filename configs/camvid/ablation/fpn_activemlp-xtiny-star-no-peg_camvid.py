_base_ = [
    '../../_base_/methods/fpn_camvid.py',
    '../../_base_/backbones/activemlp-xtiny-star-no-peg.py',
]

pretrained = 'work_dirs/activemlp-xtiny-star-no-peg_cifar10/epoch_30.pth'
model = dict(
    backbone=dict(
        _base_.backbone,
        init_cfg=dict(_base_.init_cfg, checkpoint=pretrained),
    ),
    neck=dict(in_channels=_base_.channels),
)
optim_wrapper = dict(paramwise_cfg=_base_.paramwise_cfg)
