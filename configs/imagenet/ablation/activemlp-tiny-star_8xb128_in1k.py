_base_ = [
    '../activemlp-tiny_8xb128_in1k.py',
    '../../_base_/models/activemlp_ablation.py',
]

model = dict(
    backbone=dict(
        arch=dict(_base_.activemlp_tiny_star, _delete_=True),
    )
)
