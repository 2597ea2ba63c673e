# Copyright (c) mmactive contributors. All rights reserved.
"""Multi-scale deformable attention, by mmcv's own PyTorch formulation.

mmcv uses that on the CPU by itself, and calls these on a GPU.
"""

from torch import Tensor

from .common import fill_gradients, promote


def attend(
    value: Tensor, spatial_shapes: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """Calls mmcv, whose operators import this module."""
    from mmcv.ops.multi_scale_deform_attn import (
        multi_scale_deformable_attn_pytorch,
    )

    value, locations, weights = promote(value, locations, weights)
    return multi_scale_deformable_attn_pytorch(
        value, spatial_shapes, locations, weights
    )


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Sums samples of several maps.

    Args:
        value (Tensor): (N, keys, heads, channels), of all maps, row by row.
        value_spatial_shapes (Tensor): Height and width of each map
            (levels, 2).
        value_level_start_index (Tensor): Not used: it follows from those.
        sampling_locations (Tensor): x and y, from 0 to 1, of the samples
            (N, queries, heads, levels, points, 2).
        attention_weights (Tensor): (N, queries, heads, levels, points).
        im2col_step (int): Not used.

    Returns:
        Tensor: (N, queries, heads * channels).
    """
    output = attend(
        value, value_spatial_shapes, sampling_locations, attention_weights
    )
    return output.to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Fills the gradients; arguments as in the forward function."""
    fill_gradients(
        (grad_value, grad_sampling_loc, grad_attn_weight),
        lambda value, locations, weights: attend(
            value, value_spatial_shapes, locations, weights
        ),
        (value, sampling_locations, attention_weights),
        grad_output,
    )
