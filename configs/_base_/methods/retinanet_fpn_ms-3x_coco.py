_base_ = [
    '../models/retinanet_fpn.py',
    '../datasets/coco_detection_ms.py',
    '../schedules/coco_retinanet_3x_adamw.py',
    'mmdet::_base_/default_runtime.py',
]
