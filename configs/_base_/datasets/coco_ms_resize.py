# Swin's multi-scale training: the shorter side is one of 480 to 800 pixels,
# the longer one at most 1333.
ms_resize = dict(
    _scope_='mmdet',
    type='RandomChoiceResize',
    scales=[(1333, size) for size in range(480, 801, 32)],
    keep_ratio=True,
)
