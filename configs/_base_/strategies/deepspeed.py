# DeepSpeed, ZeRO stage 2: gradients and states of the optimizer are divided
# among the processes. Who inherits takes DeepSpeedOptimWrapper, and leaves out
# averages of the weights (custom_hooks) and clip_grad.
strategy = dict(
    type='mmactive.DeepSpeedStrategy',
    config=dict(zero_allow_untested_optimizer=True),
    zero_optimization=dict(stage=2),
)
