# Copyright (c) mmactive contributors. All rights reserved.
"""PyTorch's layers of images (N, C, H, W) on tokens (N, H, W, C).

Tokens lie in memory as they are indexed. Seen as (N, C, H, W) this is the
layout ``torch.channels_last``, so that nothing is copied.
"""

from typing import Callable, Optional

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


def channels_first(function: Callable, x: Tensor) -> Tensor:
    """Applies a function of images (N, C, H, W) to tokens (N, H, W, C)."""
    return function(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class TokenConv2d(nn.Conv2d):
    """``nn.Conv2d`` of tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, H, W, in_channels) to (N, H', W', out_channels)."""
        return channels_first(super().forward, x)


def apply_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """Normalizes tokens (N, H, W, C).

    Args:
        norm (nn.Module): What ``build_norm_layer`` makes of a ``norm_cfg``.
            PyTorch's batch, instance and group norms get images (N, C, H, W),
            every other module, like ``nn.LayerNorm``, gets the tokens.
        x (Tensor): Tokens of shape (N, H, W, C).

    Returns:
        Tensor: Tokens of the same shape.
    """
    if isinstance(norm, (_NormBase, nn.GroupNorm)):
        return channels_first(norm, x)
    return norm(x)


class ConvNorm(nn.Module):
    """A convolution of tokens, and a norm of any kind of what it returns.

    Args:
        in_channels (int): Number of input channels.
        out_channels (int): Number of output channels.
        kernel_size (int): Size of the kernel.
        norm_cfg (dict, optional): Config of the normalization, see
            :func:`apply_norm`. None means that there is none.
        kwargs (dict): Other arguments of ``nn.Conv2d``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm_cfg: Optional[dict],
        **kwargs,
    ) -> None:
        super().__init__()
        self.proj = TokenConv2d(
            in_channels, out_channels, kernel_size, **kwargs
        )
        self.norm = nn.Identity()
        if norm_cfg is not None:
            self.norm = build_norm_layer(norm_cfg, out_channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, H, W, in_channels) to (N, H', W', out_channels)."""
        return apply_norm(self.norm, self.proj(x).contiguous())
