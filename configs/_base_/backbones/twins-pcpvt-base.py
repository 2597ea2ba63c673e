_base_ = './twins-pcpvt-small.py'

backbone = dict(arch='base')
pretrained = 'https://download.openmmlab.com/mmclassification/v0/twins/twins-pcpvt-base_3rdparty_8xb128_in1k_20220126-f8c4b0d5.pth'
init_cfg = dict(checkpoint=pretrained)
