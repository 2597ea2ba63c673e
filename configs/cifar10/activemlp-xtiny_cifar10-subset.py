# A fifth of the training images is what a CPU can train on in minutes; all of
# the test images are used.
_base_ = [
    '../_base_/methods/cifar10.py',
    '../_base_/backbones/activemlp-xtiny.py',
]

model = dict(
    backbone=dict(_base_.backbone, gap=True),
    head=dict(in_channels=_base_.channels[-1]),
)
optim_wrapper = dict(paramwise_cfg=_base_.paramwise_cfg)

# The images are sorted by class.
train_dataloader = dict(dataset=dict(indices=range(0, 50000, 5)))

max_epochs = 4
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs, T_max=max_epochs - 1),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
