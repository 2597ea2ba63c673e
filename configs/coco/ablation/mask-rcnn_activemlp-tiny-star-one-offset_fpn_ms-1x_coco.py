_base_ = [
    '../mask-rcnn_activemlp-tiny_fpn_ms-1x_coco.py',
    '../../_base_/models/activemlp_ablation.py',
]

pretrained = 'checkpoints/activemlp-tiny-star-one-offset_in1k.pth'
model = dict(
    backbone=dict(
        arch=dict(_base_.activemlp_tiny_star_one_offset, _delete_=True),
        init_cfg=dict(checkpoint=pretrained),
    )
)
