# mmpretrain's class and weights, with the settings of Twins' own dense models.
backbone = dict(
    type='mmpretrain.PCPVT',
    arch='small',
    qkv_bias=True,
    norm_cfg=dict(type='LN', eps=1e-6),
)
channels = [64, 128, 320, 512]  # of the four stages
pretrained = 'https://download.openmmlab.com/mmclassification/v0/twins/twins-pcpvt-small_3rdparty_8xb128_in1k_20220126-ef23c132.pth'
init_cfg = dict(type='Pretrained', checkpoint=pretrained, prefix='backbone.')
