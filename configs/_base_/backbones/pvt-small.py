_base_ = './pvt-tiny.py'

backbone = dict(num_layers=[3, 4, 6, 3])
pretrained = (
    'https://github.com/whai362/PVT/releases/download/v2/pvt_small.pth'
)
init_cfg = dict(checkpoint=pretrained)
