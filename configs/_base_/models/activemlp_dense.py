# The backbone as detectors and segmentors take it. A config adds the variant
# and the checkpoint.
activemlp_backbone = dict(
    type='mmactive.ActiveMLP',
    out_indices=(0, 1, 2, 3),
    # A checkpoint of an ImageNet config, trained here or made from a released
    # one by tools/model_converters/activemlp_to_mmactive.py. Its head is
    # dropped. Its last norm becomes norm3; norm0 to norm2 start fresh. (The
    # released models start all four fresh.)
    init_cfg=dict(type='Pretrained', prefix='backbone.'),
)

# Channels of the four stages, for necks and heads
activemlp_channels = [64, 128, 320, 512]  # of all variants but Large
activemlp_large_channels = [96, 192, 384, 768]
