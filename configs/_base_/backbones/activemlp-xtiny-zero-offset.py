# Table 7, row 1, in the size of xTiny: all offsets are zero.
_base_ = './activemlp-xtiny-star.py'

backbone = dict(arch=dict(interval=None))
