# Table 7, row 4, in the size of xTiny: one offset an axis for all channels.
_base_ = './activemlp-xtiny-star.py'

backbone = dict(arch=dict(shared_channels=[64, 128, 320, 512]))
