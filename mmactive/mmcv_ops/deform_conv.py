# Copyright (c) mmactive contributors. All rights reserved.
"""Deformable convolution and modulated deformable convolution.

Shapes, with K for the number of elements of the kernel:

- input: (N, C, H, W)
- weight: (C_out, C / group, K_h, K_w)
- offset: (N, deformable_group * K * 2, H_out, W_out), in pixels, of y and x
- mask: (N, deformable_group * K, H_out, W_out), factors of the samples
- bias: (C_out,)
- output: (N, C_out, H_out, W_out)

The geometry is what mmcv names ``kW``, ``kH``, ``dW``, ``dH``, ``padW``,
``padH``, ``dilationW``, ``dilationH``, ``group``, ``deformable_group`` and
``im2col_step`` or, where there is a mask, ``kernel_h``, ``kernel_w``,
``stride_h`` and so on. ``im2col_step`` and the buffers bound the memory of
mmcv's kernels; torchvision's take up to 32 images at a time.
"""

from math import prod
from typing import Optional, Tuple

import torch
import torchvision  # noqa: F401  defines torch.ops.torchvision
from torch import Tensor

from .common import promote

# In the order in which torchvision takes them.
GEOMETRY = (
    *('dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW'),
    *('group', 'deformable_group'),
)
MODULATED_GEOMETRY = (
    *('stride_h', 'stride_w', 'pad_h', 'pad_w', 'dilation_h', 'dilation_w'),
    *('group', 'deformable_group'),
)

# Pixels, from wherever in an image to far outside.
OUTSIDE = -1e6


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Fills output: convolves at positions that are moved by offsets."""
    output.copy_(
        torch.ops.torchvision.deform_conv2d(
            *complete(input, weight, offset),
            *(geometry[name] for name in GEOMETRY),
            False,
        )
    )


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Fills grad_input and grad_offset.

    The gradient of the weight, which torchvision computes along with them, is
    left in columns.
    """
    tensors = complete(input, weight, offset)
    grads = torch.ops.torchvision._deform_conv2d_backward(
        grad_output.to(tensors[0]),
        *tensors,
        *(geometry[name] for name in GEOMETRY),
        False,
    )
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[2])
    columns.set_(grads[1].to(columns.dtype))


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **geometry: int,
) -> None:
    """Adds the gradient, scaled, to grad_weight.

    It is in columns if :func:`deform_conv_backward_input` was called before.
    """
    if not columns.numel():
        deform_conv_backward_input(
            input,
            offset,
            grad_output,
            torch.empty_like(input),
            torch.empty_like(offset),
            grad_weight,  # of the weight's shape, and its values do not matter
            columns,
            **geometry,
        )
    grad_weight.add_(columns, alpha=scale)
    columns.set_(columns.new_empty(0))


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Fills output: convolves samples that are moved and weighed."""
    offset, mask = (fit(tensor, output) for tensor in (offset, mask))
    output.copy_(
        torch.ops.torchvision.deform_conv2d(
            *complete(
                input, weight, offset, mask, bias if with_bias else None
            ),
            *(geometry[name] for name in MODULATED_GEOMETRY),
            True,
        )
    )


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Fills the gradients of input, weight, bias, offset and mask."""
    tensors = complete(
        input,
        weight,
        fit(offset, grad_output),
        fit(mask, grad_output),
        bias if with_bias else None,
    )
    grads = torch.ops.torchvision._deform_conv2d_backward(
        grad_output.to(tensors[0]),
        *tensors,
        *(geometry[name] for name in MODULATED_GEOMETRY),
        True,
    )
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    # What is larger than the output has zeros at its end.
    fit(grad_offset, grad_output).copy_(grads[2])
    fit(grad_mask, grad_output).copy_(grads[3])
    if with_bias:
        grad_bias.copy_(grads[4])


def fit(tensor: Tensor, output: Tensor) -> Tensor:
    """Views offsets or masks, or their gradients, as a map of output's size.

    mmcv takes those of a larger map as well, by their order in memory. mmdet's
    DyHead hands over such ones.
    """
    size = (tensor.shape[1], *output.shape[2:])
    if tensor.shape[2:].numel() <= output.shape[2:].numel():
        return tensor
    return tensor.view(len(tensor), -1)[:, : prod(size)].unflatten(1, size)


def complete(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Optional[Tensor] = None,
    bias: Optional[Tensor] = None,
) -> Tuple[Tensor, ...]:
    """Returns the tensors as torchvision takes them: all, of one dtype.

    Samples at positions that are no numbers are 0, as for mmcv: torchvision
    reads anywhere for them.
    """
    offset = offset.nan_to_num(nan=OUTSIDE, posinf=-OUTSIDE, neginf=OUTSIDE)
    if mask is None:
        mask = input.new_zeros(len(input), 1)
    if bias is None:
        bias = input.new_zeros(len(weight))
    return promote(input, weight, offset, mask, bias)
