_base_ = [
    '../imagenet/activemlp-large_8xb128_in1k.py',
    '../_base_/strategies/fsdp.py',
]

# Averages are those of a whole model.
custom_hooks = []
