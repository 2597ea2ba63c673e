# Copyright (c) mmactive contributors. All rights reserved.
"""What ``mmcv._ext`` is where mmcv has no compiled operators.

:func:`mmactive.mmcv_ops.supply` loads this file under that name. Names and
arguments are those with which ``mmcv/ops/*.py`` calls the compiled extension.
"""

from typing import Any, Callable, NoReturn

import torchvision

from mmactive.mmcv_ops.carafe import (
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
)
from mmactive.mmcv_ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from mmactive.mmcv_ops.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from mmactive.mmcv_ops.masked_conv import (
    masked_col2im_forward,
    masked_im2col_forward,
)
from mmactive.mmcv_ops.multi_scale_deform_attn import (
    ms_deform_attn_backward,
    ms_deform_attn_forward,
)
from mmactive.mmcv_ops.nms import nms, nms_match, softnms
from mmactive.mmcv_ops.psa_mask import psamask_backward, psamask_forward
from mmactive.mmcv_ops.roi_align import roi_align_backward, roi_align_forward
from mmactive.mmcv_ops.roi_pool import roi_pool_backward, roi_pool_forward
from mmactive.utils.dependencies import mmcv_compile_command

__all__ = [
    'carafe_backward',
    'carafe_forward',
    'carafe_naive_backward',
    'carafe_naive_forward',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'masked_col2im_forward',
    'masked_im2col_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'nms_match',
    'psamask_backward',
    'psamask_forward',
    'roi_align_backward',
    'roi_align_forward',
    'roi_pool_backward',
    'roi_pool_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
]


def get_compiler_version() -> str:
    """Says, in the place of the compiler, whose operators these are."""
    return f'not compiled: those of torchvision {torchvision.__version__}'


def get_compiling_cuda_version() -> str:
    """Returns the CUDA version of torchvision's kernels."""
    return torchvision.version.cuda or 'not available'


def __getattr__(name: str) -> Callable:
    """Stands for the operators that mmcv looks up and hardly anyone calls."""
    if name.startswith('_'):
        raise AttributeError(f'module {__name__} has no attribute {name}')

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f'The operator `{name}` exists in compiled mmcv only, and this '
            'mmcv was installed without compiled operators. To compile them: '
            f'{mmcv_compile_command()}'
        )

    return missing
