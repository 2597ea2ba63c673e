_base_ = [
    '../models/fpn.py',
    '../datasets/ade20k.py',
    '../schedules/ade20k_40k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(size=_base_.crop_size))
