# Swin has published no RetinaNet, and mmdet trains this one by SGD: PVT's
# optimizer is taken, as by Twins.
_base_ = 'mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=0.0001, weight_decay=0.0001)
)
