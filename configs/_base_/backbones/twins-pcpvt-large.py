_base_ = './twins-pcpvt-small.py'

backbone = dict(arch='large')
pretrained = 'https://download.openmmlab.com/mmclassification/v0/twins/twins-pcpvt-large_3rdparty_16xb64_in1k_20220126-c1ef8d80.pth'
init_cfg = dict(checkpoint=pretrained)
