# A config puts its backbone in, and the channels of its four stages.
_base_ = 'mmseg::_base_/models/fpn_r50.py'

model = dict(
    # A ResNet's, which any backbone would load
    pretrained=None,
    backbone=dict(
        _delete_=True,
        out_indices=(0, 1, 2, 3),
        # Chosen after PVT; the paper names stochastic depth, but no rate.
        drop_path_rate=0.1,
    ),
    # ADE20K's
    decode_head=dict(num_classes=150),
)
