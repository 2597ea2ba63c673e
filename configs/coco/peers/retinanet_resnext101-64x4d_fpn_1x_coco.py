_base_ = 'mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py'
