# Swin's multi-scale training: the shorter side is one of 480 to 800 pixels,
# the longer one at most 1333. Chosen without the other branch of Swin's code,
# which crops half of the images: the paper says no more than "multi-scale".
ms_resize = dict(
    _scope_='mmdet',
    type='RandomChoiceResize',
    scales=[(1333, size) for size in range(480, 801, 32)],
    keep_ratio=True,
)
