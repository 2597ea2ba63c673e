_base_ = 'mmpretrain::twins/twins-pcpvt-base_8xb128_in1k.py'
