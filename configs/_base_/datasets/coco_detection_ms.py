_base_ = ['mmdet::_base_/datasets/coco_detection.py', './coco_ms_resize.py']

train_pipeline = [
    _base_.ms_resize if step.type == 'Resize' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
