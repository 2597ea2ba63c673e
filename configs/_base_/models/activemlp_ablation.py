# Variants of Tiny in Table 7 of the paper. T*, row 3, predicts offsets once in
# a stage: the interval is not below the depth of any.
activemlp_tiny_star = dict(
    depths=[2, 3, 10, 3],
    dims=[64, 128, 320, 512],
    mlp_ratios=[4, 4, 4, 4],
    shared_channels=[2, 4, 4, 8],
    interval=10,
)
# Row 1: all offsets are zero.
activemlp_tiny_zero_offset = dict(activemlp_tiny_star, interval=None)
# Row 4: one offset an axis for all channels.
activemlp_tiny_star_one_offset = dict(
    activemlp_tiny_star, shared_channels=activemlp_tiny_star['dims']
)
