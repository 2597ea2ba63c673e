# Copyright (c) mmactive contributors. All rights reserved.
"""RoIAlign, with average and maximum of the samples of a bin."""

from typing import Iterator, Tuple

import torch
import torchvision  # noqa: F401  defines torch.ops.torchvision
from torch import Tensor

from .common import promote

MAXIMUM, AVERAGE = 0, 1


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pools bilinear samples of each bin of each region.

    Args:
        input (Tensor): (N, C, H, W).
        rois (Tensor): (K, 5), of index in the batch, x1, y1, x2, y2.
        output (Tensor): (K, C, aligned_height, aligned_width), to be filled.
        argmax_y (Tensor): As output for the maximum: the row, among the
            samples of the bin, that is the largest. Not used otherwise.
        argmax_x (Tensor): The same, for the column.
        aligned_height (int): Bins along the height.
        aligned_width (int): Bins along the width.
        spatial_scale (float): Pixels of input for one of rois.
        sampling_ratio (int): Samples of a bin along each side; 0 for one a
            pixel.
        pool_mode (int): 0 for the maximum, 1 for the average.
        aligned (bool): Whether coordinate 0 is the edge of the first pixel,
            and not its centre.
    """
    values, rois = promote(input, rois)
    shape = aligned_height, aligned_width
    if pool_mode == AVERAGE:
        output.copy_(
            torch.ops.torchvision.roi_align(
                values, rois, spatial_scale, *shape, sampling_ratio, aligned
            )
        )
        return
    for regions, rows, columns in sample_grids(
        rois, *shape, spatial_scale, sampling_ratio, aligned
    ):
        # One sample a bin, in as many times more bins.
        samples = torch.ops.torchvision.roi_align(
            values,
            rois[regions],
            spatial_scale,
            aligned_height * rows,
            aligned_width * columns,
            1,
            aligned,
        )
        samples = samples.unflatten(3, (aligned_width, columns))
        samples = samples.unflatten(2, (aligned_height, rows))
        largest, index = samples.transpose(3, 4).flatten(4).max(4)
        output[regions] = largest.to(output.dtype)
        argmax_y[regions] = (index // columns).to(output.dtype)
        argmax_x[regions] = (index % columns).to(output.dtype)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills grad_input; arguments as in :func:`roi_align_forward`."""
    grad, rois = promote(grad_output, rois)
    shape = aligned_height, aligned_width
    if pool_mode == AVERAGE:
        grad_input.copy_(
            torch.ops.torchvision._roi_align_backward(
                grad,
                rois,
                spatial_scale,
                *shape,
                *grad_input.shape,
                sampling_ratio,
                aligned,
            )
        )
        return
    for regions, rows, columns in sample_grids(
        rois, *shape, spatial_scale, sampling_ratio, aligned
    ):
        index = argmax_y[regions] * columns + argmax_x[regions]
        samples = grad.new_zeros(*index.shape, rows * columns)
        samples.scatter_(
            4, index.long().unsqueeze(4), grad[regions].unsqueeze(4)
        )
        samples = samples.unflatten(4, (rows, columns)).transpose(3, 4)
        grad_input += torch.ops.torchvision._roi_align_backward(
            samples.flatten(4).flatten(2, 3),
            rois[regions],
            spatial_scale,
            aligned_height * rows,
            aligned_width * columns,
            *grad_input.shape,
            1,
            aligned,
        )


def sample_grids(
    rois: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Iterator[Tuple[Tensor, int, int]]:
    """Groups regions by the number of samples in their bins.

    Yields:
        tuple[Tensor, int, int]: Indices of regions, and the rows and columns
        of samples in each of their bins. Regions without a sample are left
        out.
    """
    sides = (rois[:, [4, 3]] - rois[:, [2, 1]]) * spatial_scale
    if not aligned:
        sides = sides.clamp(min=1)
    if sampling_ratio > 0:
        grids = torch.full_like(sides, sampling_ratio)
    else:
        grids = (
            sides / sides.new_tensor((aligned_height, aligned_width))
        ).ceil()
    grids = grids.long()
    for grid in grids.unique(dim=0):
        rows, columns = grid.tolist()
        if rows > 0 and columns > 0:
            yield (grids == grid).all(1).nonzero()[:, 0], rows, columns
