_base_ = './swin-tiny.py'

backbone = dict(embed_dims=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32])
channels = [128, 256, 512, 1024]
pretrained = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_base_patch4_window7_224.pth'
init_cfg = dict(checkpoint=pretrained)
