# Table 7, row 2, in the size of xTiny: no positional encoding.
_base_ = './activemlp-xtiny-star.py'

backbone = dict(use_peg=False)
