# In the size of ActiveMLP-xTiny, for configs/digits: a layer deeper than
# PVT-Tiny.
_base_ = './pvt-tiny.py'

backbone = dict(num_layers=[2, 2, 3, 2])
