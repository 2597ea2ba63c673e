backbone = dict(
    type='mmdet.SwinTransformer',
    embed_dims=96,
    depths=[2, 2, 6, 2],
    num_heads=[3, 6, 12, 24],
    window_size=7,
    convert_weights=True,  # from the published names
)
channels = [96, 192, 384, 768]  # of the four stages
pretrained = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth'
init_cfg = dict(type='Pretrained', checkpoint=pretrained)

# Swin's: no weight decay on norms and encodings of positions
paramwise_cfg = dict(
    custom_keys={
        'absolute_pos_embed': dict(decay_mult=0.0),
        'relative_position_bias_table': dict(decay_mult=0.0),
        'norm': dict(decay_mult=0.0),
    }
)
