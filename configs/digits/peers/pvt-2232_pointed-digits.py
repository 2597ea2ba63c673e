_base_ = [
    '../../_base_/methods/pointed_digits.py',
    '../../_base_/backbones/pvt-2232.py',
]
custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmactive.TupleOutput',  # mmpretrain's neck refuses a list
        backbone=dict(_base_.backbone, out_indices=(3,), drop_path_rate=0.0),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=_base_.channels[-1]),
)
load_from = 'work_dirs/pvt-2232_digits/epoch_10.pth'
