# Copyright (c) mmactive contributors. All rights reserved.
"""Convolution at some of the pixels alone, for inference."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Gathers what the kernel covers at each of P pixels.

    Args:
        im (Tensor): (1, C, H, W).
        mask_h_idx (Tensor): Rows (P,) of the output.
        mask_w_idx (Tensor): Columns (P,) of the output.
        col (Tensor): (C * kernel_h * kernel_w, P), to be filled.
        kernel_h (int): Height of the kernel.
        kernel_w (int): Width of the kernel.
        pad_h (int): Padding along the height.
        pad_w (int): Padding along the width.
    """
    padded = pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    rows = torch.arange(kernel_h, device=im.device)[:, None] + mask_h_idx
    columns = torch.arange(kernel_w, device=im.device)[:, None] + mask_w_idx
    col.copy_(padded[:, rows[:, None], columns].reshape(col.shape))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Puts col (channels, P) at pixels of im (1, channels, height, width)."""
    im[0, :, mask_h_idx, mask_w_idx] = col
