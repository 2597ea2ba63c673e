# mmseg's model in PVT's schedule for ResNets: 40k iterations of 32 images in
# place of 160k of 16.
_base_ = 'mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py'

optim_wrapper = dict(optimizer=dict(lr=0.02))
train_cfg = dict(max_iters=40000, val_interval=4000)
param_scheduler = [dict(_base_.param_scheduler[0], eta_min=0.0, end=40000)]
default_hooks = dict(checkpoint=dict(interval=4000))
auto_scale_lr = dict(enable=False, base_batch_size=32)
