# 36 epochs. When the learning rate falls is chosen, after Swin.
_base_ = ['./coco_1x_adamw.py']

train_cfg = dict(max_epochs=36)
param_scheduler = [
    _base_.param_scheduler[0],  # warm-up
    dict(_base_.param_scheduler[1], end=36, milestones=[27, 33]),
]
