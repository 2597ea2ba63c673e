_base_ = 'mmseg::dnlnet/dnl_r101-d8_4xb4-160k_ade20k-512x512.py'
