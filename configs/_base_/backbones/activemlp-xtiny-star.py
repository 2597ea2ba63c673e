# Table 7, row 3, in the size of xTiny: offsets are predicted once in a stage,
# since the interval is not below the depth of any.
_base_ = './activemlp.py'

backbone = dict(
    arch=dict(
        depths=[2, 2, 4, 2],
        dims=[64, 128, 320, 512],
        mlp_ratios=[4, 4, 4, 4],
        shared_channels=[2, 4, 4, 8],
        interval=4,
    )
)
