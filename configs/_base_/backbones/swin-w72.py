# In the size of ActiveMLP-xTiny, for configs/digits: narrower than Swin-T.
# mmpretrain's class takes a part of a classifier's checkpoint.
backbone = dict(
    type='mmpretrain.SwinTransformer',
    arch=dict(embed_dims=72, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24]),
    pad_small_map=True,  # maps are smaller than windows
)
channels = [72, 144, 288, 576]
init_cfg = dict(type='Pretrained', prefix='backbone.')
