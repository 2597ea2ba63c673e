_base_ = [
    '../_base_/models/upernet_activemlp.py',
    '../_base_/datasets/ade20k_bs2.py',
    '../_base_/schedules/ade20k_160k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]

pretrained = 'checkpoints/activemlp-tiny_in1k.pth'
model = dict(
    backbone=dict(arch='tiny', init_cfg=dict(checkpoint=pretrained)),
)
