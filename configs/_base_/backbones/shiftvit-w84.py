# In the size of ActiveMLP-xTiny, for configs/digits: narrower than the
# light ShiftViT-T.
_base_ = './shiftvit.py'

channels = [84, 168, 336, 672]
backbone = dict(
    arch=dict(
        depths=[2, 2, 6, 2],
        dims=channels,
        mlp_ratios=[4, 4, 4, 4],
        num_div=12,
    )
)
