# Table 7, row 3: Tiny predicts offsets once in a stage, since the interval is
# not below the depth of any.
_base_ = './activemlp.py'

backbone = dict(
    arch=dict(
        depths=[2, 3, 10, 3],
        dims=[64, 128, 320, 512],
        mlp_ratios=[4, 4, 4, 4],
        shared_channels=[2, 4, 4, 8],
        interval=10,
    )
)
pretrained = 'checkpoints/activemlp-tiny-star_in1k.pth'
init_cfg = dict(checkpoint=pretrained)
