_base_ = 'mmpretrain::swin_transformer/swin-small_16xb64_in1k.py'
