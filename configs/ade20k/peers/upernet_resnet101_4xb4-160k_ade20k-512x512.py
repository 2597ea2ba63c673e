_base_ = 'mmseg::upernet/upernet_r101_4xb4-160k_ade20k-512x512.py'
