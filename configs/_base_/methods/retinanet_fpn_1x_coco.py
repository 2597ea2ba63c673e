_base_ = [
    '../models/retinanet_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../schedules/coco_retinanet_1x_adamw.py',
    'mmdet::_base_/default_runtime.py',
]
