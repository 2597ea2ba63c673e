# Copyright (c) mmactive contributors. All rights reserved.
from typing import Optional

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from .tokens import ConvNorm, apply


def pad_to_multiple(x: Tensor, size: int) -> Tensor:
    """Pads (N, H, W, C) with zeros at the bottom and at the right."""
    pad_h, pad_w = -x.size(1) % size, -x.size(2) % size
    # A branch would bind what is exported to sizes that divide, or do not.
    is_traced = torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling()
    if is_traced or pad_h or pad_w:
        x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
    return x


class PatchEmbed(ConvNorm):
    """Projects patches that do not overlap, and normalizes the tokens.

    Args:
        in_dims (int): Number of input channels.
        embed_dims (int): Number of output channels.
        patch_size (int): Height and width of a patch.
        norm_cfg (dict, optional): Config of the normalization. None means
            none.
        pad (bool): Whether patches that are cut off at the bottom and at the
            right are filled up with zeros. If not, they are left out.
            Defaults to False.
    """

    def __init__(
        self,
        in_dims: int,
        embed_dims: int,
        patch_size: int,
        norm_cfg: Optional[dict],
        pad: bool = False,
    ) -> None:
        super().__init__(
            in_dims, embed_dims, patch_size, norm_cfg, stride=patch_size
        )
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, H, W, in_dims) to (N, H', W', embed_dims)."""
        if self.pad:
            x = pad_to_multiple(x, self.proj.stride[0])
        return super().forward(x)


class PatchMerging(BaseModule):
    """Swin's downsampling: joins 2 x 2 tokens, normalizes and projects them.

    Odd heights and widths are filled up with zeros.

    Args:
        in_dims (int): Number of input channels.
        out_dims (int): Number of output channels.
        norm_cfg (dict): Config of the normalization.
    """

    def __init__(self, in_dims: int, out_dims: int, norm_cfg: dict) -> None:
        super().__init__()
        self.norm = build_norm_layer(norm_cfg, 4 * in_dims)[1]
        self.reduction = nn.Linear(4 * in_dims, out_dims, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, H, W, in_dims) to (N, ceil(H/2), ceil(W/2), out_dims)."""
        x = pad_to_multiple(x, 2)
        x = torch.cat(
            [x[:, i::2, j::2] for j in range(2) for i in range(2)], dim=3
        )
        return apply(self.reduction, apply(self.norm, x))
