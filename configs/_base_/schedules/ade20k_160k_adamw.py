# Swin's schedule for batches of 16. The released models were trained in mixed
# precision: `tools/train.py --amp`.
_base_ = 'mmseg::_base_/schedules/schedule_160k.py'

optim_wrapper = dict(
    optimizer=dict(
        _delete_=True,
        type='AdamW',
        lr=0.00006,
        betas=(0.9, 0.999),
        weight_decay=0.01,
    ),
)
param_scheduler = [
    dict(
        _scope_='mmseg',
        type='LinearLR',
        # Warm-up is from 1e-6: read as Swin's warmup_ratio, a factor.
        start_factor=1e-6,
        by_epoch=False,
        begin=0,
        end=1500,
    ),
    dict(_base_.param_scheduler[0], power=1.0, eta_min=0.0, begin=1500),
]

auto_scale_lr = dict(enable=False, base_batch_size=16)
