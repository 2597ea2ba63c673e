# In the size of ActiveMLP-xTiny, for configs/digits: narrower than AS-MLP-T.
_base_ = './asmlp.py'

channels = [70, 140, 280, 560]
backbone = dict(
    arch=dict(depths=[2, 2, 6, 2], dims=channels, mlp_ratios=[4, 4, 4, 4])
)
