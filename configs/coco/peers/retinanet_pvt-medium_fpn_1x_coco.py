_base_ = 'mmdet::pvt/retinanet_pvt-m_fpn_1x_coco.py'
