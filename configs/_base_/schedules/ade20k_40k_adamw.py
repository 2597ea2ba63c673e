# PVT's schedule for batches of 32: half of mmseg's iterations for batches of
# 16, at twice the learning rate.
_base_ = 'mmseg::_base_/schedules/schedule_40k.py'

optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=0.0002, weight_decay=0.0001
    ),
)
param_scheduler = [dict(_base_.param_scheduler[0], eta_min=0.0)]

auto_scale_lr = dict(enable=False, base_batch_size=32)
