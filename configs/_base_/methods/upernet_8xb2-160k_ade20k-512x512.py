_base_ = [
    '../models/upernet.py',
    '../datasets/ade20k_bs2.py',
    '../schedules/ade20k_160k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(size=_base_.crop_size))
