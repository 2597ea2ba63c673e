_base_ = './retinanet_activemlp-tiny_fpn_1x_coco.py'

pretrained = 'checkpoints/activemlp-small_in1k.pth'
model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint=pretrained)),
)
