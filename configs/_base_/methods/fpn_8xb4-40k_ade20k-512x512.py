_base_ = [
    '../models/fpn.py',
    '../datasets/ade20k.py',
    '../schedules/ade20k_40k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]
