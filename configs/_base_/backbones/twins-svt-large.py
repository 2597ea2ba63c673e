_base_ = './twins-svt-small.py'

backbone = dict(arch='large')
channels = [128, 256, 512, 1024]
pretrained = 'https://download.openmmlab.com/mmclassification/v0/twins/twins-svt-large_3rdparty_16xb64_in1k_20220126-4817645f.pth'
init_cfg = dict(checkpoint=pretrained)
