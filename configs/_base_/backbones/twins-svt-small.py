_base_ = './twins-pcpvt-small.py'

backbone = dict(type='mmpretrain.SVT', norm_after_stage=True)
channels = [64, 128, 256, 512]
pretrained = 'https://download.openmmlab.com/mmclassification/v0/twins/twins-svt-small_3rdparty_8xb128_in1k_20220126-8fe5205b.pth'
init_cfg = dict(checkpoint=pretrained)
