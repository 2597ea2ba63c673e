# Copyright (c) mmactive contributors. All rights reserved.
import math
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmactive.registry import MODELS

from ..layers import apply
from .pyramid import Pyramid


@MODELS.register_module()
class SelfAttention(BaseModule):
    """Multi-head self-attention of all tokens of an image.

    Args:
        embed_dims (int): Number of channels C.
        num_heads (int): Number of heads; it divides C. Defaults to 8.
        init_cfg (dict, optional): Config of the initialization. Defaults to a
            truncated normal distribution of std 0.02.

    Raises:
        ValueError: If ``num_heads`` does not divide ``embed_dims``.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int = 8,
        init_cfg: Optional[dict] = dict(
            type='TruncNormal', layer='Linear', std=0.02, bias=0.0
        ),
    ) -> None:
        super().__init__(init_cfg)
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(
                f'num_heads must divide embed_dims, but got {num_heads} and '
                f'{embed_dims}'
            )
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Mixes tokens.

        Args:
            x (Tensor): Tokens of shape (N, T, C) or (N, H, W, C).
            offset (Tensor, optional): Ignored.

        Returns:
            Tensor: Tokens of the same shape.
        """
        qkv = self.qkv(x.flatten(1, -2)).unflatten(2, (3, self.num_heads, -1))
        out = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        return apply(self.proj, out.transpose(1, 2).reshape(x.shape))


class CPVTStem(BaseModule):
    """Projects patches of 16 x 16 pixels, and adds the class token.

    Args:
        in_channels (int): Number of channels of the images.
        embed_dims (int): Number of channels C of the tokens.
        with_cls_token (bool): Whether there is a class token.
    """

    def __init__(
        self, in_channels: int, embed_dims: int, with_cls_token: bool
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, 16, stride=16)
        self.cls_token = None
        if with_cls_token:
            self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dims))
            nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, x: Tensor) -> Tuple[Tensor, Sequence[int]]:
        """Returns tokens (N, T, C), and height and width of their map."""
        x = apply(self.proj, x)
        size, x = x.shape[1:3], x.flatten(1, 2)
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.expand(x.size(0), -1, -1), x), dim=1)
        return x, size


class CPVTStage(BaseModule):
    """Blocks, the first of which are followed by a PEG each.

    The positional encoding generator (PEG) adds a depthwise convolution to the
    tokens of the map. The class token goes past it.

    Args:
        embed_dims (int): Number of channels C.
        blocks (Sequence[nn.Module]): The blocks.
        num_pegs (int): Number of PEGs.
    """

    def __init__(
        self, embed_dims: int, blocks: Sequence[nn.Module], num_pegs: int
    ) -> None:
        # Kaiming initialization does not know of groups: fan_out is 9.
        super().__init__(
            dict(
                type='Normal',
                std=math.sqrt(2 / 9),
                override=dict(name='pegs'),
            )
        )
        self.blocks = ModuleList(blocks)
        self.pegs = ModuleList(
            nn.Conv2d(embed_dims, embed_dims, 3, padding=1, groups=embed_dims)
            for _ in range(num_pegs)
        )

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Maps tokens (N, T, C) of a map of a size to new ones."""
        num_cls_tokens = x.size(1) - size[0] * size[1]
        for j, block in enumerate(self.blocks):
            x = block(x)
            if j < len(self.pegs):
                tokens = x[:, num_cls_tokens:].unflatten(1, size)
                tokens = (tokens + apply(self.pegs[j], tokens)).flatten(1, 2)
                x = torch.cat((x[:, :num_cls_tokens], tokens), dim=1)
        return x


@MODELS.register_module()
class CPVT(Pyramid):
    """CPVT: DeiT with conditional position encodings. A reconstruction.

    `Conditional Positional Encodings for Vision Transformers
    <https://arxiv.org/abs/2102.10882>`_. Its authors have published the
    positional encoding generator (PEG), but neither network nor weights: this
    is DeiT without its position embedding and with PEGs, as the paper
    describes it. CPVT-B has 86.5 M parameters here, not 88 M as in tables.

    It has one stage, of stride 16, and takes any image of at least 16 x 16
    pixels. The vector of an image, if ``gap``, is the class token, or without
    one the average over all positions (CPVT-GAP).

    Args:
        arch (str | dict): One of 'tiny', 'small' and 'base', or a dict with
            the keys

            - **depths** (list[int]): Number of blocks.
            - **dims** (list[int]): Number of channels.
            - **mlp_ratios** (list[float]): Hidden channels of the MLPs,
              relative to the channels.
            - **num_heads** (list[int]): Number of heads; it divides the
              channels.

            Each has one value. Defaults to 'small'.
        num_pegs (int): How many of the blocks, from the first on, a PEG
            follows: 5 as in the paper's best results, or 1. Defaults to 5.
        with_cls_token (bool): Whether there is a class token. Defaults to
            True.
        mixer (dict, optional): Config of the token mixer, see
            :class:`Pyramid`; it is called with tokens (N, T, C). None means
            :class:`SelfAttention`. Defaults to None.
        norm_cfg (dict): See :class:`Pyramid`. Defaults to
            ``dict(type='LN', eps=1e-6)``.
        kwargs (dict): See :class:`Pyramid`.

    Raises:
        ValueError: See :class:`Pyramid`; also if ``num_pegs`` is not between
            0 and the number of blocks.
        KeyError: See :class:`Pyramid`.
    """

    arch_settings = {
        'tiny': dict(depths=[12], dims=[192], mlp_ratios=[4], num_heads=[3]),
        'small': dict(depths=[12], dims=[384], mlp_ratios=[4], num_heads=[6]),
        'base': dict(depths=[12], dims=[768], mlp_ratios=[4], num_heads=[12]),
    }

    num_stages = 1
    min_size = 16  # a patch
    default_init_cfg = [
        *Pyramid.default_init_cfg,
        dict(type='Kaiming', layer='Conv2d'),
    ]

    def __init__(
        self,
        arch: Union[str, dict] = 'small',
        num_pegs: int = 5,
        with_cls_token: bool = True,
        mixer: Optional[dict] = None,
        norm_cfg: dict = dict(type='LN', eps=1e-6),
        **kwargs,
    ) -> None:
        depth = self._check_arch(arch)['depths'][0]
        if not 0 <= num_pegs <= depth:
            raise ValueError(
                f'num_pegs must be in [0, {depth}], but got {num_pegs}'
            )
        self.num_pegs = num_pegs
        self.with_cls_token = with_cls_token
        # How many mmpretrain's tools leave out
        self.num_extra_tokens = int(with_cls_token)
        super().__init__(arch, mixer=mixer, norm_cfg=norm_cfg, **kwargs)

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes a projection of patches that adds the class token."""
        return CPVTStem(in_channels, embed_dims, self.with_cls_token)

    def make_stage(self, i: int, drop_path_rates: List[float]) -> nn.Module:
        """Makes the blocks and the PEGs between them."""
        blocks = [self.make_block(i, rate) for rate in drop_path_rates]
        return CPVTStage(self.arch['dims'][i], blocks, self.num_pegs)

    def make_output_norm(self, embed_dims: int) -> nn.Module:
        """Makes the norm of the map, or of tokens with the class token."""
        if not self.with_cls_token:
            return super().make_output_norm(embed_dims)
        return build_norm_layer(self.norm_cfg, embed_dims)[1]

    def make_mixer_cfg(self, i: int) -> dict:
        """Makes the config of the mixers."""
        if self.mixer is not None:
            return self.mixer
        return dict(
            type='mmactive.SelfAttention', num_heads=self.arch['num_heads'][i]
        )

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Extracts features.

        Args:
            x (Tensor): Images of shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One tensor: the normalized features of shape (N, C,
            H // 16, W // 16), or (N, C) if ``gap``.
        """
        self._check_image_size(*x.shape[2:])
        size = x.size(2) // 16, x.size(3) // 16
        (x,) = self.iter_stages(x)
        if not self.with_cls_token:
            return (self.make_output(apply(self.norm0, x.unflatten(1, size))),)
        x = self.norm0(x)
        if self.gap:
            return (x[:, 0],)
        return (self.make_output(x[:, 1:].unflatten(1, size)),)

    def iter_stages(self, x: Tensor) -> Iterator[Tensor]:
        """Yields what the stage makes of images, not normalized.

        Args:
            x (Tensor): Images of shape (N, in_channels, H, W).

        Yields:
            Tensor: Tokens of shape (N, T, C), the class token first.
        """
        yield self.stages[0](*self.downsample_layers[0](x.permute(0, 2, 3, 1)))
