# PyTorch's fully sharded data parallelism: parameters, gradients and states of
# the optimizer are divided among the processes. Checkpoints are whole. Who
# inherits leaves out averages of the weights (custom_hooks) and clip_grad.
strategy = dict(type='mmactive.FSDPStrategy')
