_base_ = './8xb128_in1k.py'

param_scheduler = [
    dict(_base_.param_scheduler[0], end=20),
    dict(_base_.param_scheduler[1], begin=20, T_max=280),
]
