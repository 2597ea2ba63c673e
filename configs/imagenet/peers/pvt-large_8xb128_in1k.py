_base_ = [
    '../../_base_/methods/8xb128_in1k.py',
    '../../_base_/backbones/pvt-large.py',
]

custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmactive.TupleOutput',  # mmpretrain's neck refuses a list
        backbone=dict(_base_.backbone, out_indices=(3,), drop_path_rate=0.3),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=_base_.channels[-1]),
)
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
