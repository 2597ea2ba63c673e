_base_ = [
    '../models/cascade-mask-rcnn_fpn.py',
    '../datasets/coco_instance_ms.py',
    '../schedules/coco_3x_adamw.py',
    'mmdet::_base_/default_runtime.py',
]
