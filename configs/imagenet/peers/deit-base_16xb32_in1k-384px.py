_base_ = 'mmpretrain::deit/deit-base_16xb32_in1k-384px.py'
