# mmdet's class knows the names of the published weights.
backbone = dict(type='mmdet.PyramidVisionTransformer', num_layers=[2, 2, 2, 2])
channels = [64, 128, 320, 512]  # of the four stages
pretrained = 'https://github.com/whai362/PVT/releases/download/v2/pvt_tiny.pth'
init_cfg = dict(type='Pretrained', checkpoint=pretrained)
