# Copyright (c) mmactive contributors. All rights reserved.
import math
from typing import Optional, Union

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmactive.registry import MODELS

from ..layers import MLP
from .pyramid import Pyramid


def _normalize_twice(attention: Tensor) -> Tensor:
    """Normalizes (..., tokens, memory) over the tokens, then the memory."""
    attention = attention.softmax(dim=-2)
    return attention / (1e-9 + attention.sum(dim=-1, keepdim=True))


@MODELS.register_module()
class ExternalAttention(BaseModule):
    """Multi-head external attention, Sec. 3.2 and 3.3 of the paper.

    Tokens attend to learned memories, which all images and all heads share:
    two linear layers with a normalization over the tokens between them.

    Args:
        embed_dims (int): Number of channels C.
        expand_ratio (int): Channels of all heads together, relative to C.
            Defaults to 4.
        head_dims (int): Number of channels of a head. Defaults to 64.
        memory_size (int): Number of entries of a memory. Defaults to 64.
        init_cfg (dict, optional): Config of the initialization. Defaults to a
            truncated normal distribution of std 0.02.

    Raises:
        ValueError: If ``head_dims`` does not divide the channels.
    """

    def __init__(
        self,
        embed_dims: int,
        expand_ratio: int = 4,
        head_dims: int = 64,
        memory_size: int = 64,
        init_cfg: Optional[dict] = dict(
            type='TruncNormal', layer='Linear', std=0.02, bias=0.0
        ),
    ) -> None:
        super().__init__(init_cfg)
        hidden_dims = expand_ratio * embed_dims
        if head_dims < 1 or hidden_dims % head_dims:
            raise ValueError(
                'head_dims must divide expand_ratio * embed_dims, but got '
                f'{head_dims} and {expand_ratio} * {embed_dims}'
            )
        self.head_dims = head_dims
        self.expand = nn.Linear(embed_dims, hidden_dims)
        self.key_memory = nn.Linear(head_dims, memory_size)
        self.value_memory = nn.Linear(memory_size, head_dims)
        self.proj = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Mixes tokens.

        Args:
            x (Tensor): Tokens of shape (N, T, C) or (N, H, W, C).
            offset (Tensor, optional): Ignored.

        Returns:
            Tensor: Tokens of the same shape.
        """
        heads = self.expand(x.flatten(1, -2)).unflatten(
            2, (-1, self.head_dims)
        )
        attention = _normalize_twice(self.key_memory(heads.transpose(1, 2)))
        heads = self.value_memory(attention).transpose(1, 2)
        return self.proj(heads.flatten(2)).view_as(x)


class TokenTransformer(BaseModule):
    """External attention of one head that changes the number of channels.

    Args:
        in_dims (int): Number of input channels.
        embed_dims (int): Number of channels C that it computes with.
        drop_rate (float): Probability of dropout. Defaults to 0.1.
    """

    def __init__(
        self, in_dims: int, embed_dims: int, drop_rate: float = 0.1
    ) -> None:
        super().__init__()
        norm_cfg = dict(type='LN')
        self.norm1 = build_norm_layer(norm_cfg, in_dims)[1]
        self.q = nn.Linear(in_dims, embed_dims)
        self.key_memory = nn.Linear(embed_dims, 2 * embed_dims, bias=False)
        self.value_memory = nn.Linear(2 * embed_dims, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.ffn = MLP(embed_dims, embed_dims)
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens (N, T, in_dims) to (N, T, C)."""
        x = self.q(self.norm1(x))
        attention = self.dropout(_normalize_twice(self.key_memory(x)))
        mixed = self.proj(self.value_memory(attention))
        x = x + self.dropout(mixed)
        return x + self.ffn(self.norm2(x))


class TokensToToken(BaseModule):
    """T2T-ViT's stem with external attention, class token and positions.

    Three times the neighbourhoods of a map become tokens, at strides 4, 2 and
    2; between these the tokens are mixed and become a map again.

    Args:
        in_channels (int): Number of channels of the images.
        embed_dims (int): Number of channels C of the tokens.
        num_patches (int): Number of tokens of an image.
        token_dims (int): Number of channels of the maps. Defaults to 64.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        num_patches: int,
        token_dims: int = 64,
    ) -> None:
        super().__init__()
        self.attention1 = TokenTransformer(7 * 7 * in_channels, token_dims)
        self.attention2 = TokenTransformer(3 * 3 * token_dims, token_dims)
        self.proj = nn.Linear(3 * 3 * token_dims, embed_dims)
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dims))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.pos_embed = nn.Parameter(
            _make_sinusoids(1 + num_patches, embed_dims), requires_grad=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (N, H, W, in_channels) to tokens (N, 1 + T, C)."""
        # First of all, since the exporter to ONNX takes the number of images
        # for a constant behind F.unfold.
        cls_token = self.cls_token.expand(x.size(0), -1, -1)
        height, width = (length // 4 for length in x.shape[1:3])
        x = F.unfold(x.permute(0, 3, 1, 2), 7, padding=2, stride=4)
        x = self.attention1(x.transpose(1, 2)).transpose(1, 2)
        x = F.unfold(x.unflatten(2, (height, width)), 3, padding=1, stride=2)
        x = self.attention2(x.transpose(1, 2)).transpose(1, 2)
        x = x.unflatten(2, (height // 2, width // 2))
        x = self.proj(F.unfold(x, 3, padding=1, stride=2).transpose(1, 2))
        return torch.cat((cls_token, x), dim=1) + self.pos_embed


def _make_sinusoids(length: int, dims: int) -> Tensor:
    """Makes the sinusoidal position encoding (1, length, dims)."""
    channels = torch.arange(dims, dtype=torch.float64)
    period = 10000 ** (2 * (channels // 2) / dims)
    angles = torch.arange(length, dtype=torch.float64)[:, None] / period
    encoding = torch.where(channels % 2 == 0, angles.sin(), angles.cos())
    return encoding[None].float()


@MODELS.register_module()
class EAMLP(Pyramid):
    """EAMLP: T2T-ViT with external attention.

    `Beyond Self-attention: External Attention using Two Linear Layers for
    Visual Tasks <https://arxiv.org/abs/2105.02358>`_. It classifies images of
    224 x 224 pixels and nothing else, since its position encoding is made for
    these. It has one stage, of stride 16. The vector of an image, if ``gap``,
    is the class token instead of an average.

    Args:
        arch (str | dict): '14' or '19', or a dict with the keys

            - **depths** (list[int]): Number of blocks.
            - **dims** (list[int]): Number of channels.
            - **mlp_ratios** (list[float]): Hidden channels of the MLPs,
              relative to the channels.

            Each has one value. Defaults to '14'.
        mixer (dict): Config of the token mixer, see :class:`Pyramid`; it is
            called with tokens (N, 197, C). Defaults to
            ``dict(type='mmactive.ExternalAttention')``.
        kwargs (dict): See :class:`Pyramid`.

    Raises:
        ValueError: See :class:`Pyramid`; also if an image has another size.
        KeyError: See :class:`Pyramid`.
    """

    arch_settings = {
        '14': dict(depths=[14], dims=[384], mlp_ratios=[3]),
        '19': dict(depths=[19], dims=[448], mlp_ratios=[3]),
    }
    num_stages = 1
    image_size = 224

    def __init__(
        self,
        arch: Union[str, dict] = '14',
        mixer: dict = dict(type='mmactive.ExternalAttention'),
        **kwargs,
    ) -> None:
        super().__init__(arch, mixer=mixer, **kwargs)

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes the layers that turn pixels into tokens."""
        num_patches = (self.image_size // 16) ** 2
        return TokensToToken(in_channels, embed_dims, num_patches)

    def make_output_norm(self, embed_dims: int) -> nn.Module:
        """Makes the norm of tokens (N, T, C), of which one is the class's."""
        return build_norm_layer(self.norm_cfg, embed_dims)[1]

    def make_output(self, x: Tensor) -> Tensor:
        """Returns the class token, or the map of the others."""
        if self.gap:
            return x[:, 0]
        size = math.isqrt(x.size(1) - 1)
        return x[:, 1:].transpose(1, 2).unflatten(2, (size, size)).contiguous()
