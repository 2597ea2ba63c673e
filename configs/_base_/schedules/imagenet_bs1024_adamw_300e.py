# AdamW 1e-3, weight decay 0.05, 5 warm-up epochs from 1e-6, cosine to 1e-5
_base_ = [
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_conformer.py',
    '../activemlp.py',
]

optim_wrapper = dict(
    paramwise_cfg=dict(_delete_=True, **_base_.activemlp_paramwise_cfg)
)

# Decay 0.99996; the accuracy that the paper reports is the average's.
custom_hooks = [
    dict(
        _scope_='mmpretrain',
        type='EMAHook',
        momentum=1 - 0.99996,
        priority='ABOVE_NORMAL',
    )
]
