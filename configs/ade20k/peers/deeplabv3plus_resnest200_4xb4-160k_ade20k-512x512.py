_base_ = (
    'mmseg::resnest/resnest_s101-d8_deeplabv3plus_4xb4-160k_ade20k-512x512.py'
)

pretrained = 'checkpoints/resnest200_in1k.pth'
model = dict(
    pretrained=None,  # a ResNeSt-101's
    backbone=dict(
        depth=200,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained),
    ),
)
