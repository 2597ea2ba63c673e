_base_ = 'mmpretrain::twins/twins-pcpvt-small_8xb128_in1k.py'
