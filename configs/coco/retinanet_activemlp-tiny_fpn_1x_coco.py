_base_ = [
    '../_base_/models/retinanet_activemlp_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_retinanet_1x_adamw.py',
    'mmdet::_base_/default_runtime.py',
]

pretrained = 'checkpoints/activemlp-tiny_in1k.pth'
model = dict(
    backbone=dict(arch='tiny', init_cfg=dict(checkpoint=pretrained)),
)
