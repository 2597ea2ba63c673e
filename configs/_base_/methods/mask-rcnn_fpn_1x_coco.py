_base_ = [
    '../models/mask-rcnn_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../schedules/coco_1x_adamw.py',
    'mmdet::_base_/default_runtime.py',
]
