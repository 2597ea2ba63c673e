# A config puts its backbone in, the channels of its four stages and, for the
# auxiliary head, those of the third.
_base_ = 'mmseg::_base_/models/upernet_r50.py'

model = dict(
    # A ResNet's, which any backbone would load
    pretrained=None,
    backbone=dict(
        _delete_=True,
        out_indices=(0, 1, 2, 3),
        # Documented for ActiveMLP-Large, taken for its other variants.
        drop_path_rate=0.2,
    ),
    # ADE20K's
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)
