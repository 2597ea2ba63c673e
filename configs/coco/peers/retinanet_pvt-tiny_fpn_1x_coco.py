_base_ = 'mmdet::pvt/retinanet_pvt-t_fpn_1x_coco.py'
