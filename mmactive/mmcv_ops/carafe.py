# Copyright (c) mmactive contributors. All rights reserved.
"""CARAFE, upsampling by predicted kernels (https://arxiv.org/abs/1905.02188).

``carafe`` and ``carafe_naive`` compute the same; the former hands over tensors
to rearrange its arguments in, of which rfeatures alone is used.
"""

import torch
from torch import Tensor
from torch.nn.functional import unfold

from .common import fill_gradients, promote


def reassemble(
    features: Tensor,
    masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> Tensor:
    """Weighs the neighbourhood of the pixel that each new one comes from.

    Args:
        features (Tensor): (N, C, H, W).
        masks (Tensor): Kernels (N, group_size * kernel_size ** 2, H_out,
            W_out).
        kernel_size (int): Odd.
        group_size (int): Number of groups of channels with their own kernels.
        scale_factor (int): H_out / H and W_out / W.

    Returns:
        Tensor: (N, C, H_out, W_out).
    """
    features, masks = promote(features, masks)
    height, width = features.shape[2:]
    patches = unfold(features, kernel_size, padding=kernel_size // 2)
    patches = patches.unflatten(2, (height, width))
    patches = patches.unflatten(1, (group_size, -1, kernel_size**2))
    masks = masks.unflatten(3, (width, scale_factor))
    masks = masks.unflatten(2, (height, scale_factor))
    masks = masks.unflatten(1, (group_size, kernel_size**2))
    output = torch.einsum('ngckhw, ngkhiwj -> ngchiwj', patches, masks)
    return output.flatten(5, 6).flatten(3, 4).flatten(1, 2)


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fills output; arguments as in :func:`reassemble`."""
    output.copy_(
        reassemble(features, masks, kernel_size, group_size, scale_factor)
    )


def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fills the gradients; arguments as in :func:`reassemble`."""
    fill_gradients(
        (grad_input, grad_masks),
        lambda features, masks: reassemble(
            features, masks, kernel_size, group_size, scale_factor
        ),
        (features, masks),
        grad_output,
    )


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fills output, and rfeatures for the backward pass."""
    rfeatures.copy_(features)
    carafe_naive_forward(
        features, masks, output, kernel_size, group_size, scale_factor
    )


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fills grad_input and grad_masks."""
    carafe_naive_backward(
        *(grad_output, rfeatures, masks, grad_input, grad_masks),
        *(kernel_size, group_size, scale_factor),
    )
