# What short trainings on one machine share, of segmentors that start from a
# classifier's checkpoint. Data, lengths and sizes of batches are theirs.
_base_ = './fpn_8xb4-40k_ade20k-512x512.py'

# Processes that share one CPU have no use for SyncBN.
norm_cfg = dict(type='BN')
model = dict(neck=dict(norm_cfg=norm_cfg), decode_head=dict(norm_cfg=norm_cfg))

# Neck and head start fresh; the backbone does not. A key of their own would
# let their norms and biases decay, so nothing of them does.
fresh = dict(lr_mult=2.0, decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(neck=fresh, decode_head=fresh),
    ),
)
param_scheduler = [
    dict(_scope_='mmseg', type='LinearLR', start_factor=0.01, by_epoch=False),
    _base_.param_scheduler[0],
]
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(max_keep_ckpts=2)
)
randomness = dict(seed=0)
