_base_ = 'mmpretrain::mlp_mixer/mlp-mixer-base-p16_64xb64_in1k.py'
