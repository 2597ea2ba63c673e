# Copyright (c) mmactive contributors. All rights reserved.
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def adaptive_avg_pool2d(x: Tensor, output_size: Sequence[int]) -> Tensor:
    """``F.adaptive_avg_pool2d`` that can be exported to ONNX.

    ONNX has no such operator, and PyTorch's exporter knows but sizes that
    divide a fixed one. There it is two products of matrices.

    Args:
        x (Tensor): Maps of shape (N, C, H, W).
        output_size (Sequence[int]): Height and width of the output.

    Returns:
        Tensor: Shape (N, C, *output_size), the means of cells.
    """
    if not torch.onnx.is_in_onnx_export():
        return F.adaptive_avg_pool2d(x, output_size)
    rows, columns = (
        _make_weights(x, length, num)
        for length, num in zip(x.shape[2:], output_size)
    )
    return rows @ x @ columns.transpose(0, 1)


def _make_weights(x: Tensor, length: int, num: int) -> Tensor:
    """Makes weights (num, length) of the pixels in each of some cells."""
    cells = torch.arange(num, device=x.device)[:, None]
    pixels = torch.arange(length, device=x.device)
    start = (cells * length).div(num, rounding_mode='floor')
    end = ((cells + 1) * length + num - 1).div(num, rounding_mode='floor')
    inside = ((pixels >= start) & (pixels < end)).to(x.dtype)
    return inside / inside.sum(dim=1, keepdim=True)
