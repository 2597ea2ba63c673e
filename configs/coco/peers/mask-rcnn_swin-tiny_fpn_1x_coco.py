_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'

# As Swin's authors train it for 12 epochs; MMDetection takes 0.2.
model = dict(backbone=dict(drop_path_rate=0.1))
