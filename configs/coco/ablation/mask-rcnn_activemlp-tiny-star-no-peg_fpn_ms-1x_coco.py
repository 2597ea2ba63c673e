_base_ = [
    '../mask-rcnn_activemlp-tiny_fpn_ms-1x_coco.py',
    '../../_base_/models/activemlp_ablation.py',
]

pretrained = 'checkpoints/activemlp-tiny-star-no-peg_in1k.pth'
model = dict(
    backbone=dict(
        arch=dict(_base_.activemlp_tiny_star, _delete_=True),
        use_peg=False,
        init_cfg=dict(checkpoint=pretrained),
    )
)
