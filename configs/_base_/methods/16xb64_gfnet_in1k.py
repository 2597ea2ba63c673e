# GFNet's recipe: no random erasing, 5 epochs of warm-up.
_base_ = './16xb64_in1k.py'

train_pipeline = [
    step for step in _base_.train_pipeline if step.type != 'RandomErasing'
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(
    clip_grad=dict(max_norm=1.0),
    # Position embeddings do not decay, filters do.
    paramwise_cfg=dict(custom_keys={'.pos_embed': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=5),
    dict(_base_.param_scheduler[1], begin=5),
]
