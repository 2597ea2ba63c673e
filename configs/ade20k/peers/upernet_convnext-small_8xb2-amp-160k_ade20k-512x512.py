# The paper prints "ConvNeXt-T" thrice; these are the numbers of ConvNeXt-S.
_base_ = (
    'mmseg::convnext/convnext-small_upernet_8xb2-amp-160k_ade20k-512x512.py'
)
