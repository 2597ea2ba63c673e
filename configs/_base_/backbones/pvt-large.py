_base_ = './pvt-tiny.py'

backbone = dict(num_layers=[3, 8, 27, 3])
pretrained = (
    'https://github.com/whai362/PVT/releases/download/v2/pvt_large.pth'
)
init_cfg = dict(checkpoint=pretrained)
