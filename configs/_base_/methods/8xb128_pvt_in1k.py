_base_ = './8xb128_in1k.py'

custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

model = dict(
    # mmdet's classes return a list, which mmpretrain's neck refuses.
    backbone=dict(_delete_=True, type='mmactive.TupleOutput'),
    neck=dict(type='GlobalAveragePooling'),
)
