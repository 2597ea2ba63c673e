_base_ = './cascade-mask-rcnn_activemlp-tiny_fpn_ms-1x_coco.py'

pretrained = 'checkpoints/activemlp-large_in1k.pth'
model = dict(
    backbone=dict(arch='large', init_cfg=dict(checkpoint=pretrained)),
    neck=dict(in_channels=_base_.activemlp_large_channels),
)
