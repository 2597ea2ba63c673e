# Copyright (c) mmactive contributors. All rights reserved.
"""RoIPool.

torchvision's is another one: it rounds the regions to whole pixels first.
"""

from typing import Tuple

import torch
from torch import Tensor

from .common import promote


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Takes the maximum of each bin of each region.

    Args:
        input (Tensor): (N, C, H, W).
        rois (Tensor): (K, 5), of index in the batch and of the first and the
            last pixel: x1, y1, x2, y2.
        output (Tensor): (K, C, pooled_height, pooled_width), to be filled; 0
            where a bin has no pixel.
        argmax (Tensor): As output, int32: the pixel, y * W + x; -1 for none.
        pooled_height (int): Bins along the height.
        pooled_width (int): Bins along the width.
        spatial_scale (float): Pixels of input for one of rois.
    """
    (boxes,) = promote(rois)
    height, width = input.shape[2:]
    starts, ends = boxes[:, 1:3] * spatial_scale, boxes[:, 3:5] + 1
    starts, ends = starts.T, ends.T * spatial_scale
    column_bins = split(starts[0], ends[0], pooled_width, width)
    row_bins = split(starts[1], ends[1], pooled_height, height)
    for region, sample in enumerate(rois[:, 0].long().tolist()):
        rows, has_rows = (part[region] for part in row_bins)
        columns, has_columns = (part[region] for part in column_bins)
        # (bins along the height, along the width, pixels of the bin)
        pixels = rows[:, None, :, None] * width + columns[None, :, None, :]
        pixels = pixels.flatten(2)
        values = input[sample].flatten(1)[:, pixels]
        largest, index = values.max(3)
        index = pixels.expand_as(values).gather(3, index[..., None])[..., 0]
        filled = has_rows[:, None] & has_columns
        output[region] = torch.where(filled, largest, 0)
        argmax[region] = torch.where(filled, index, -1)


def split(
    starts: Tensor, ends: Tensor, bins: int, size: int
) -> Tuple[Tensor, Tensor]:
    """Splits one side of regions into bins, which may overlap.

    Args:
        starts (Tensor): Coordinates (K,).
        ends (Tensor): Coordinates (K,).
        bins (int): Number of bins, B.
        size (int): Number of pixels of the image.

    Returns:
        tuple[Tensor, Tensor]: Pixels (K, B, P), the last repeated in smaller
        bins, and whether there are any (K, B).
    """
    steps = torch.arange(bins + 1, device=starts.device)
    edges = steps * ((ends - starts) / bins)[:, None] + starts[:, None]
    first = edges[:, :-1].floor().clamp(0, size).long()
    last = edges[:, 1:].ceil().clamp(0, size).long() - 1
    filled = (last >= first) & (ends > starts)[:, None]
    length = int((last - first).max()) + 1 if len(starts) else 0
    pixels = torch.arange(max(length, 1), device=starts.device)
    pixels = torch.minimum(first[..., None] + pixels, last[..., None])
    return pixels.clamp(0, size - 1), filled


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Adds to grad_input; arguments as in :func:`roi_pool_forward`."""
    channels, height, width = grad_input.shape[1:]
    maps = rois[:, :1].long() * channels
    maps = maps + torch.arange(channels, device=maps.device)
    index = maps[:, :, None, None] * (height * width) + argmax
    filled = argmax >= 0
    grad_input.view(-1).index_add_(0, index[filled], grad_output[filled])
