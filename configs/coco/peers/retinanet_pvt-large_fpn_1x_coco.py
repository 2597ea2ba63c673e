_base_ = 'mmdet::pvt/retinanet_pvt-l_fpn_1x_coco.py'
