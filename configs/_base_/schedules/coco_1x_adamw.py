# 12 epochs of batches of 16. The paper names no optimizer: chosen, after Swin.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

optim_wrapper = dict(
    optimizer=dict(
        _delete_=True,
        type='AdamW',
        lr=0.0001,
        betas=(0.9, 0.999),
        weight_decay=0.05,
    ),
)

# Chosen for RetinaNet, after PVT's, which is trained for 12 epochs.
retinanet_weight_decay = 0.0001
