_base_ = 'mmpretrain::twins/twins-svt-base_8xb128_in1k.py'
