# Copyright (c) mmactive contributors. All rights reserved.
"""The masks of PSANet, from relative to absolute positions."""

from typing import Tuple

import torch
from torch import Tensor

COLLECT, DISTRIBUTE = 0, 1


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Spreads the mask around each pixel over the whole map.

    Args:
        input (Tensor): (N, h_mask * w_mask, h_feature, w_feature): for each
            pixel the weights of those around it.
        output (Tensor): (N, h_feature * w_feature, h_feature, w_feature), to
            be filled: the weight of the second pixel for the first one (of
            type 1) or the other way round (of type 0).
        psa_type (int): 0 to collect, 1 to distribute.
        num_ (int): N.
        h_feature (int): Height of the map.
        w_feature (int): Width of the map.
        h_mask (int): Height of the masks.
        w_mask (int): Width of the masks.
        half_h_mask (int): Row of a mask that is its own pixel's.
        half_w_mask (int): Column of a mask that is its own pixel's.
    """
    index, inside = relative_positions(
        *(h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask),
        input.device,
    )
    masks = input.flatten(2).transpose(1, 2)
    result = masks.gather(2, index.expand(num_, -1, -1)) * inside
    if psa_type == COLLECT:
        result = result.transpose(1, 2)
    output.copy_(result.reshape(output.shape))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fills grad_input; arguments as in :func:`psamask_forward`."""
    index, inside = relative_positions(
        *(h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask),
        grad_output.device,
    )
    grad = grad_output.flatten(2)
    if psa_type == COLLECT:
        grad = grad.transpose(1, 2)
    masks = grad.new_zeros(num_, h_feature * w_feature, h_mask * w_mask)
    masks.scatter_add_(2, index.expand(num_, -1, -1), grad * inside)
    grad_input.copy_(masks.transpose(1, 2).reshape(grad_input.shape))


def relative_positions(
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
    device: torch.device,
) -> Tuple[Tensor, Tensor]:
    """Finds each pixel in the mask around each other one.

    Returns:
        tuple[Tensor, Tensor]: Position in the mask, and whether it is inside;
        both (pixels, pixels).
    """
    y, x = torch.meshgrid(
        torch.arange(h_feature, device=device),
        torch.arange(w_feature, device=device),
        indexing='ij',
    )
    y, x = y.flatten(), x.flatten()
    y, x = y - y[:, None] + half_h_mask, x - x[:, None] + half_w_mask
    inside = (y >= 0) & (y < h_mask) & (x >= 0) & (x < w_mask)
    return torch.where(inside, y * w_mask + x, 0), inside
