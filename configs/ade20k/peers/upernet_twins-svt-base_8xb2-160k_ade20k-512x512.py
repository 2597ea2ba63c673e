_base_ = 'mmseg::twins/twins_svt-b_uperhead_8xb2-160k_ade20k-512x512.py'
