_base_ = 'mmdet::mask_rcnn/mask-rcnn_r101_fpn_1x_coco.py'
