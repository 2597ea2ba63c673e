# Table 3 compares after half of Twins' own 80k iterations. Twins' rate of
# learning falls to 1e-6; mmseg's would stay at 1e-4.
_base_ = 'mmseg::twins/twins_svt-l_fpn_fpnhead_8xb4-80k_ade20k-512x512.py'

train_cfg = dict(max_iters=40000, val_interval=4000)
param_scheduler = [dict(_base_.param_scheduler[0], eta_min=1e-6, end=40000)]
default_hooks = dict(checkpoint=dict(interval=4000))
