_base_ = [
    '../_base_/models/fpn_activemlp.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_40k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]

pretrained = 'checkpoints/activemlp-tiny_in1k.pth'
model = dict(
    backbone=dict(arch='tiny', init_cfg=dict(checkpoint=pretrained)),
)
