_base_ = [
    '../../_base_/methods/8xb128_in1k.py',
    '../../_base_/backbones/pvtv2-b1.py',
]

custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

# PVT's recipe is chosen, of which PVTv2's descends.
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmactive.TupleOutput',  # mmpretrain's neck refuses a list
        backbone=dict(_base_.backbone, out_indices=(3,), drop_path_rate=0.1),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=_base_.channels[-1]),
)
