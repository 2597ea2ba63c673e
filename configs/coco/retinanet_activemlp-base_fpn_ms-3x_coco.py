_base_ = './retinanet_activemlp-tiny_fpn_ms-3x_coco.py'

pretrained = 'checkpoints/activemlp-base_in1k.pth'
model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint=pretrained)),
)
