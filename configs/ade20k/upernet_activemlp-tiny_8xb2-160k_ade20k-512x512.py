_base_ = [
    '../_base_/models/upernet_activemlp.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_160k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]

pretrained = 'checkpoints/activemlp-tiny_in1k.pth'
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(arch='tiny', init_cfg=dict(checkpoint=pretrained)),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)

train_dataloader = dict(batch_size=2)
