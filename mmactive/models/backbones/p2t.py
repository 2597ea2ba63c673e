# Copyright (c) mmactive contributors. All rights reserved.
from typing import List, Optional, Sequence, Union

import torch
import torch.nn.functional as F
import torch.utils.checkpoint as cp
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmactive.ops.adaptive_avg_pool2d import adaptive_avg_pool2d
from mmactive.registry import MODELS

from ..layers import MLP, ConvNorm, apply, channels_first
from .pyramid import MixerBlock, Pyramid


def _round(number: Union[float, Tensor]) -> Union[int, Tensor]:
    """Rounds, halves to even numbers, as published; also what is traced."""
    if isinstance(number, Tensor):
        return number.round().long()
    return round(number)


class PyramidPooling(BaseModule):
    """Pools tokens to maps of several sizes.

    To each pooled map a depthwise convolution of it is added, as an encoding
    of positions.

    Args:
        embed_dims (int): Number of channels C.
        ratios (Sequence[int]): How much smaller the maps are than the tokens'.
    """

    def __init__(self, embed_dims: int, ratios: Sequence[int]) -> None:
        super().__init__()
        self.ratios = ratios
        self.convs = ModuleList(
            nn.Conv2d(embed_dims, embed_dims, 3, padding=1, groups=embed_dims)
            for _ in ratios
        )

    @property
    def min_size(self) -> int:
        """Height and width in tokens below which nothing would remain."""
        return max(self.ratios) // 2 + 1

    def forward(self, x: Tensor) -> Tensor:
        """Pools tokens.

        Args:
            x (Tensor): Tokens of shape (N, H, W, C).

        Returns:
            Tensor: The tokens of all pooled maps, of shape (N, M, C).

        Raises:
            ValueError: If height or width are less than :attr:`min_size`.
        """
        height, width = x.shape[1:3]
        if not torch.onnx.is_in_onnx_export():
            # Plain numbers, since what a tracer has instead cannot be rounded.
            height, width = int(height), int(width)
        if min(height, width) < self.min_size:
            raise ValueError(
                f'pool ratios {self.ratios} need maps of at least '
                f'{self.min_size} x {self.min_size} tokens, but got {height} '
                f'x {width}'
            )
        maps = []
        for ratio, conv in zip(self.ratios, self.convs):
            size = [_round(length / ratio) for length in (height, width)]
            pooled = channels_first(
                lambda x, size=size: adaptive_avg_pool2d(x, size), x
            )
            maps.append((pooled + apply(conv, pooled)).flatten(1, 2))
        return torch.cat(maps, dim=1)


@MODELS.register_module()
class PoolingAttention(BaseModule):
    """Pooling-based self-attention, Sec. 3.2 of the P2T paper.

    All tokens attend to those of a pyramid of pooled maps.

    Args:
        embed_dims (int): Number of channels C.
        num_heads (int): Number of heads; it divides C. Defaults to 8.
        pool_ratios (Sequence[int], optional): How much smaller the pooled maps
            are. None means that whoever calls brings the pooling. Defaults to
            (1, 2, 3, 4).
        init_cfg (dict, optional): Config of the initialization. Defaults to a
            truncated normal distribution of std 0.02.

    Raises:
        ValueError: If ``num_heads`` does not divide ``embed_dims``.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int = 8,
        pool_ratios: Optional[Sequence[int]] = (1, 2, 3, 4),
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
        self.pooling = None
        if pool_ratios is not None:
            self.pooling = PyramidPooling(embed_dims, pool_ratios)
        self.q = nn.Linear(embed_dims, embed_dims)
        self.norm = build_norm_layer(dict(type='LN'), embed_dims)[1]
        self.kv = nn.Linear(embed_dims, 2 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(
        self,
        x: Tensor,
        offset: Optional[Tensor] = None,
        pooling: Optional[nn.Module] = None,
    ) -> Tensor:
        """Mixes tokens.

        Args:
            x (Tensor): Tokens of shape (N, H, W, C).
            offset (Tensor, optional): Ignored.
            pooling (nn.Module, optional): The pooling to use instead of the
                mixer's own.

        Returns:
            Tensor: Tokens of shape (N, H, W, C).
        """
        pooled = (pooling or self.pooling)(x)
        kv = apply(self.kv, self.norm(pooled)).chunk(2, dim=-1)
        out = F.scaled_dot_product_attention(
            *(
                tokens.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
                for tokens in (apply(self.q, x).flatten(1, 2), *kv)
            )
        )
        return apply(self.proj, out.transpose(1, 2).reshape(x.shape))


class InvertedBottleneck(MLP):
    """An MLP with a depthwise convolution of the hidden channels.

    Args:
        embed_dims (int): Number of channels C.
        hidden_dims (int): Number of channels in between.
    """

    def __init__(self, embed_dims: int, hidden_dims: int) -> None:
        super().__init__(
            embed_dims, hidden_dims, act_cfg=dict(type='HSwish'), with_cp=True
        )
        self.conv = nn.Conv2d(
            hidden_dims, hidden_dims, 3, padding=1, groups=hidden_dims
        )

    def _activate(self, x: Tensor) -> Tensor:
        return apply(self.fc2, self.act(apply(self.conv, self.act(x))))


class P2TBlock(MixerBlock):
    """Attention to pooled tokens, then an inverted bottleneck.

    Args:
        embed_dims (int): Number of channels C.
        mlp_ratio (float): Hidden channels of the bottleneck, relative to
            ``embed_dims``.
        kwargs (dict): See :class:`MixerBlock`.
    """

    def __init__(self, embed_dims: int, mlp_ratio: float, **kwargs) -> None:
        super().__init__(embed_dims, mlp_ratio=mlp_ratio, **kwargs)
        self.ffn = InvertedBottleneck(embed_dims, int(embed_dims * mlp_ratio))

    def forward(  # type: ignore[override]
        self, x: Tensor, pooling: Optional[nn.Module]
    ) -> Tensor:
        """Maps tokens (N, H, W, C) to new ones."""

        def _forward(x):
            # A mixer of another family knows of no pooling.
            shared = {} if pooling is None else dict(pooling=pooling)
            mixed = self.mixer(apply(self.norm1, x), **shared)
            x = x + self.drop_path(mixed)
            return x + self.drop_path(self.ffn(apply(self.norm2, x)))

        if self.with_cp and x.requires_grad:
            return cp.checkpoint(_forward, x, use_reentrant=False)
        return _forward(x)


class P2TStage(BaseModule):
    """Blocks that share one pooling, its convolutions included.

    Args:
        blocks (Sequence[nn.Module]): The blocks.
        pooling (nn.Module, optional): The pooling.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], pooling: Optional[nn.Module]
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.blocks = ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens (N, H, W, C) to tokens of the same shape."""
        for block in self.blocks:
            x = block(x, self.pooling)
        return x


@MODELS.register_module()
class P2T(Pyramid):
    """P2T, the Pyramid Pooling Transformer.

    `P2T: Pyramid Pooling Transformer for Scene Understanding
    <https://arxiv.org/abs/2106.12011>`_. The output of stage i has stride
    4 * 2**i, and no norm. Images have at least 65 x 65 pixels, or 96 x 96 in
    the first release.

    Args:
        arch (str | dict): One of 'tiny', 'small', 'base', 'medium' and 'large'
            (the final release) or of 'v1-tiny', 'v1-small' and 'v1-base' (the
            first one, of September 2021), or a dict with the keys

            - **depths** (list[int]): Number of blocks of each stage.
            - **dims** (list[int]): Number of channels of each stage.
            - **mlp_ratios** (list[float]): Hidden channels of the bottlenecks
              of each stage, relative to its channels.
            - **num_heads** (list[int]): Number of heads of each stage; it
              divides the channels.
            - **pool_ratios** (list[list[int]]): How much smaller the pooled
              maps of each stage are than its own.
            - **overlap** (bool): Whether the patches of stem and downsampling
              layers overlap, as in the final release.

            Defaults to 'tiny'.
        mixer (dict, optional): Config of the token mixer, see
            :class:`Pyramid`. None means :class:`PoolingAttention` with the
            numbers of the architecture. Defaults to None.
        norm_cfg (dict): Config of the normalization of the blocks. Defaults to
            ``dict(type='LN', eps=1e-6)``.
        kwargs (dict): See :class:`Pyramid`.

    Raises:
        ValueError: See :class:`Pyramid`; also if an image is too small.
        KeyError: See :class:`Pyramid`.
    """

    # The published bottlenecks' linear layers are 1x1 convolutions, which keep
    # PyTorch's initialization. The mixer has its own.
    default_init_cfg = []

    block_type = P2TBlock
    _shared = dict(
        mlp_ratios=[8, 8, 4, 4],
        pool_ratios=[
            [12, 16, 20, 24],
            [6, 8, 10, 12],
            [3, 4, 5, 6],
            [1, 2, 3, 4],
        ],
    )
    arch_settings = {
        'tiny': dict(
            depths=[2, 2, 6, 3],
            dims=[48, 96, 240, 384],
            num_heads=[1, 2, 5, 8],
            overlap=True,
            **_shared,
        ),
        'small': dict(
            depths=[2, 2, 9, 3],
            dims=[64, 128, 320, 512],
            num_heads=[1, 2, 5, 8],
            overlap=True,
            **_shared,
        ),
        'base': dict(
            depths=[3, 4, 18, 3],
            dims=[64, 128, 320, 512],
            num_heads=[1, 2, 5, 8],
            overlap=True,
            **_shared,
        ),
        'medium': dict(
            depths=[3, 4, 15, 3],
            dims=[64, 128, 384, 512],
            num_heads=[1, 2, 6, 8],
            overlap=True,
            **_shared,
        ),
        'large': dict(
            depths=[3, 8, 27, 3],
            dims=[64, 128, 320, 640],
            num_heads=[1, 2, 5, 8],
            overlap=True,
            **_shared,
        ),
        'v1-tiny': dict(
            depths=[2, 2, 2, 2],
            dims=[64, 128, 320, 512],
            num_heads=[1, 2, 5, 8],
            overlap=False,
            **_shared,
        ),
        'v1-small': dict(
            depths=[2, 2, 9, 3],
            dims=[64, 128, 320, 512],
            num_heads=[1, 2, 5, 8],
            overlap=False,
            **_shared,
        ),
        'v1-base': dict(
            depths=[2, 4, 19, 3],
            dims=[64, 128, 320, 512],
            num_heads=[1, 2, 5, 8],
            overlap=False,
            **_shared,
        ),
    }

    def __init__(
        self,
        arch: Union[str, dict] = 'tiny',
        mixer: Optional[dict] = None,
        norm_cfg: dict = dict(type='LN', eps=1e-6),
        **kwargs,
    ) -> None:
        super().__init__(arch, mixer=mixer, norm_cfg=norm_cfg, **kwargs)
        self.min_size = 1
        for i, stage in reversed([*enumerate(self.stages)]):
            if stage.pooling is not None:
                self.min_size = max(self.min_size, stage.pooling.min_size)
            stride = 2 if i else 4
            if self.arch['overlap']:
                self.min_size = (self.min_size - 1) * stride + 1
            else:
                self.min_size *= stride

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes a convolution of stride 4 and a norm."""
        return self._make_patch_embed(in_channels, embed_dims, 4, 7)

    def make_downsampling(self, in_dims: int, out_dims: int) -> nn.Module:
        """Makes a convolution of stride 2 and a norm."""
        return self._make_patch_embed(in_dims, out_dims, 2, 3)

    def _make_patch_embed(
        self, in_dims: int, out_dims: int, stride: int, kernel_size: int
    ) -> nn.Module:
        overlap = self.arch['overlap']
        return ConvNorm(
            in_dims,
            out_dims,
            kernel_size if overlap else stride,
            norm_cfg=dict(type='LN'),
            stride=stride,
            padding=kernel_size // 2 if overlap else 0,
        )

    def make_stage(self, i: int, drop_path_rates: List[float]) -> nn.Module:
        """Makes a stage whose blocks share the pooling."""
        pooling = None
        if self.mixer is None:
            pooling = PyramidPooling(
                self.arch['dims'][i], self.arch['pool_ratios'][i]
            )
        return P2TStage(
            [self.make_block(i, rate) for rate in drop_path_rates], pooling
        )

    def make_mixer_cfg(self, i: int) -> dict:
        """Makes the config of the mixers of stage ``i``."""
        if self.mixer is not None:
            return self.mixer
        return dict(
            type='mmactive.PoolingAttention',
            num_heads=self.arch['num_heads'][i],
            pool_ratios=None,
        )

    def make_output_norm(self, embed_dims: int) -> nn.Module:
        """Makes no norm."""
        return nn.Identity()
