_base_ = './cascade-mask-rcnn_activemlp-tiny_fpn_ms-3x_coco.py'

pretrained = 'checkpoints/activemlp-xtiny_in1k.pth'
model = dict(
    backbone=dict(arch='xtiny', init_cfg=dict(checkpoint=pretrained)),
)
