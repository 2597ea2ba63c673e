# Table 7, row 2: no positional encoding.
_base_ = './activemlp-tiny-star.py'

backbone = dict(use_peg=False)
pretrained = 'checkpoints/activemlp-tiny-star-no-peg_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
