# Copyright (c) mmactive contributors. All rights reserved.
"""PyTorch's layers of images (N, C, H, W) on tokens (N, H, W, C).

Tokens lie in memory as they are indexed. Seen as (N, C, H, W) this is the
layout ``torch.channels_last``, so that nothing is copied.
"""

from typing import Callable, Optional

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks
from torch.nn.modules.batchnorm import _NormBase

from mmactive.ops.linear import linear


def channels_first(function: Callable, x: Tensor) -> Tensor:
    """Applies a function of images (N, C, H, W) to tokens (N, H, W, C)."""
    return function(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def apply(layer: nn.Module, x: Tensor) -> Tensor:
    """Applies a layer to tokens.

    The layers of this package are PyTorch's own, since what counts,
    quantizes or prunes a network goes by their exact class.

    Args:
        layer (nn.Module): Convolutions, batch, instance and group norms,
            :class:`LayerNorm2d` and ``nn.Identity`` get the tokens as images
            (N, C, H, W), every other module gets them as they are. A linear
            layer is computed by ``mmactive.ops.linear``.
        x (Tensor): Tokens of shape (N, H, W, C).

    Returns:
        Tensor: Tokens of shape (N, H', W', C').
    """
    if type(layer) is nn.Linear and not _has_hooks(layer):
        return linear(x, layer.weight, layer.bias)
    return channels_first(layer, x) if is_of_images(layer) else layer(x)


def is_of_images(layer: nn.Module) -> bool:
    """Tells whether a layer maps images (N, C, H, W) rather than tokens."""
    # An identity stands for the norm of an output that has none. A quantized
    # convolution is no nn.Conv2d, but has a kernel as well.
    norms = (_NormBase, nn.GroupNorm, LayerNorm2d, nn.Identity)
    return isinstance(layer, norms) or hasattr(layer, 'kernel_size')


def _has_hooks(layer: nn.Module) -> bool:
    """Tells whether a call of a layer does more than its ``forward``."""
    return bool(
        # Some tools replace the method of an instance.
        'forward' in vars(layer)
        or layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or global_hooks._has_any_global_hook()
    )


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of images (N, C, H, W).

    Its parameters are those of ``nn.LayerNorm``. A backbone's outputs have it
    since tools like Grad-CAM take the last norm that they find for one that
    returns a feature map.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to images of the same shape and layout."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNorm(nn.Module):
    """A convolution of tokens, and a norm of any kind of what it returns.

    Args:
        in_channels (int): Number of input channels.
        out_channels (int): Number of output channels.
        kernel_size (int): Size of the kernel.
        norm_cfg (dict, optional): Config of the normalization, see
            :func:`apply`. None means that there is none.
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
        self.proj = nn.Conv2d(in_channels, out_channels, kernel_size, **kwargs)
        self.norm = nn.Identity()
        if norm_cfg is not None:
            self.norm = build_norm_layer(norm_cfg, out_channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, H, W, in_channels) to (N, H', W', out_channels)."""
        return apply(self.norm, apply(self.proj, x).contiguous())
