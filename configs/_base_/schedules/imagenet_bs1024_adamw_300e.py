# AdamW 1e-3, weight decay 0.05, 5 warm-up epochs from 1e-6, cosine to 1e-5.
# Norms, biases, class tokens and all other vectors do not decay.
_base_ = 'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_conformer.py'

# A scale of channels, too, which no norm has
optim_wrapper = dict(paramwise_cfg=dict(flat_decay_mult=0.0))

# Decay 0.99996; the accuracy that the paper reports is the average's.
custom_hooks = [
    dict(
        _scope_='mmpretrain',
        type='EMAHook',
        momentum=1 - 0.99996,
        priority='ABOVE_NORMAL',
    )
]
