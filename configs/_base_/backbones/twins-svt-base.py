_base_ = './twins-svt-small.py'

backbone = dict(arch='base')
channels = [96, 192, 384, 768]
pretrained = 'https://download.openmmlab.com/mmclassification/v0/twins/twins-svt-base_3rdparty_8xb128_in1k_20220126-e31cc8e9.pth'
init_cfg = dict(checkpoint=pretrained)
