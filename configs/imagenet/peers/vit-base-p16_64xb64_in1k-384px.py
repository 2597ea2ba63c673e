_base_ = 'mmpretrain::vision_transformer/vit-base-p16_64xb64_in1k-384px.py'
