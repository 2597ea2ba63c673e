# What every experiment with ActiveMLP shares, whatever its task.
custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)

# No weight decay on norms, biases and the positional encoding generators.
# Schedules take it as `optim_wrapper = dict(paramwise_cfg=...)`.
activemlp_paramwise_cfg = dict(
    norm_decay_mult=0.0,
    bias_decay_mult=0.0,
    custom_keys={'.peg.': dict(decay_mult=0.0)},
)
