_base_ = 'mmdet::pvt/retinanet_pvt-s_fpn_1x_coco.py'
