_base_ = [
    '../../_base_/methods/mask-rcnn_fpn_digits.py',
    '../../_base_/backbones/pvt-2232.py',
]
custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

model = dict(
    backbone=_base_.backbone,
    neck=dict(in_channels=_base_.channels),
)
# mmdet's class loads no part of a checkpoint, so the model does; its heads
# start fresh.
load_from = 'work_dirs/pvt-2232_digits/epoch_10.pth'
allow_partial = True
