_base_ = './coco_1x_adamw.py'

optim_wrapper = dict(
    optimizer=dict(weight_decay=_base_.retinanet_weight_decay)
)
