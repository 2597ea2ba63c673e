_base_ = './swin-tiny.py'

backbone = dict(depths=[2, 2, 18, 2])
pretrained = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_small_patch4_window7_224.pth'
init_cfg = dict(checkpoint=pretrained)
