# The paper prints "ConvNeXt-T" thrice; these are the numbers of ConvNeXt-B.
_base_ = (
    'mmseg::convnext/convnext-base_upernet_8xb2-amp-160k_ade20k-512x512.py'
)
