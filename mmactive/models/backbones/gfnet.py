# Copyright (c) mmactive contributors. All rights reserved.
import math
from typing import Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmactive.registry import MODELS

from ..layers import apply
from .pyramid import MixerBlock, Pyramid


def _resize(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """Resizes a map (H, W, C) to another height and width."""
    same = tuple(x.shape[:2]) == tuple(size)
    if same and not torch.onnx.is_in_onnx_export():
        return x
    x = F.interpolate(
        x.permute(2, 0, 1)[None],
        size=tuple(size),
        mode='bicubic',
        align_corners=align_corners,
    )
    return x[0].permute(1, 2, 0)


def filter_by_products(x: Tensor, weight: Tensor) -> Tensor:
    """Multiplies the 2D Fourier transform, by products of real matrices.

    ONNX has no complex numbers.

    Args:
        x (Tensor): Tokens of shape (N, H, W, C).
        weight (Tensor): The filter, (H, W // 2 + 1, C, 2): real and imaginary
            parts.

    Returns:
        Tensor: Tokens of shape (N, H, W, C).
    """
    height, width = x.shape[1:3]
    cos_h, sin_h = _make_waves(x, height, height)
    cos_w, sin_w = _make_waves(x, width, width // 2 + 1)
    # e^(-ia) along the width, then along the height
    real = torch.einsum('nhwc,wk->nhkc', x, cos_w)
    imag = -torch.einsum('nhwc,wk->nhkc', x, sin_w)
    real, imag = (
        torch.einsum('nhkc,hl->nlkc', real, cos_h)
        + torch.einsum('nhkc,hl->nlkc', imag, sin_h),
        torch.einsum('nhkc,hl->nlkc', imag, cos_h)
        - torch.einsum('nhkc,hl->nlkc', real, sin_h),
    )
    weight_real, weight_imag = weight.unbind(-1)
    real, imag = (
        real * weight_real - imag * weight_imag,
        real * weight_imag + imag * weight_real,
    )
    # Back along the height by e^(ia), and along the width to real numbers:
    # each frequency stands for its mirror image as well, if it has one.
    real, imag = (
        torch.einsum('nlkc,hl->nhkc', real, cos_h)
        - torch.einsum('nlkc,hl->nhkc', imag, sin_h),
        torch.einsum('nlkc,hl->nhkc', imag, cos_h)
        + torch.einsum('nlkc,hl->nhkc', real, sin_h),
    )
    frequency = torch.arange(width // 2 + 1, device=x.device)
    count = 2 - (frequency * 2 % width == 0).to(x.dtype)
    return torch.einsum('nhkc,wk->nhwc', real, cos_w * count) - torch.einsum(
        'nhkc,wk->nhwc', imag, sin_w * count
    )


def _make_waves(x: Tensor, length: int, num: int) -> Tuple[Tensor, Tensor]:
    """Makes cosines and sines (length, num), that keep sums of squares."""
    position = torch.arange(length, device=x.device)
    frequency = torch.arange(num, device=x.device)
    # The rest alone counts, and is exact.
    turns = (position[:, None] * frequency % length).to(x.dtype) / length
    scale = torch.ones_like(position).sum().to(x.dtype).rsqrt()
    angle = 2 * math.pi * turns
    return angle.cos() * scale, angle.sin() * scale


@MODELS.register_module()
class GlobalFilter(BaseModule):
    """Global filter layer, Sec. 3.2 of the GFNet paper.

    Multiplies the 2D Fourier transform of every channel by learned complex
    numbers, which is a convolution with a kernel of the size of the map. The
    transform is computed in float32 or float64.

    For maps of other than the given size the filter is interpolated, as the
    published code does it between two trainings; so is a filter of another
    size that is loaded.

    Args:
        embed_dims (int): Number of channels C.
        grid_size (int): Height and width of the maps in tokens. Defaults to
            14.
        init_cfg (dict, optional): Config of the initialization. Defaults to
            None.
    """

    def __init__(
        self,
        embed_dims: int,
        grid_size: int = 14,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg)
        # Real numbers, since optimizers and checkpoints take them better.
        shape = grid_size, grid_size // 2 + 1, embed_dims, 2
        self.complex_weight = nn.Parameter(torch.randn(shape) * 0.02)

    def forward(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Maps tokens (N, H, W, C) to new ones; offsets are ignored."""
        size = x.shape[1:3]
        out_dtype = torch.promote_types(x.dtype, self.complex_weight.dtype)
        dtype = torch.promote_types(out_dtype, torch.float32)
        weight = self._resize_filter(
            self.complex_weight.to(dtype), (size[0], size[1] // 2 + 1)
        )
        if torch.onnx.is_in_onnx_export():
            return filter_by_products(x.to(dtype), weight).to(out_dtype)
        spectrum = torch.fft.rfft2(x.to(dtype), dim=(1, 2), norm='ortho')
        spectrum = spectrum * torch.view_as_complex(weight)
        x = torch.fft.irfft2(spectrum, s=size, dim=(1, 2), norm='ortho')
        return x.to(out_dtype)

    @staticmethod
    def _resize_filter(weight: Tensor, size: Sequence[int]) -> Tensor:
        """Interpolates a filter (H, W // 2 + 1, C, 2)."""
        resized = _resize(weight.flatten(2), size, align_corners=True)
        return resized.unflatten(2, (-1, 2)).contiguous()

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args
    ) -> None:
        name = f'{prefix}complex_weight'
        weight, own = state_dict.get(name), self.complex_weight
        if (
            weight is not None
            and weight.dim() == 4
            and weight.shape[1:] == (len(weight) // 2 + 1, *own.shape[2:])
        ):
            state_dict[name] = self._resize_filter(weight, own.shape[:2])
        super()._load_from_state_dict(state_dict, prefix, *args)


class GFNetStem(BaseModule):
    """Projects patches and adds an embedding of their positions.

    The embedding is interpolated where the map has another size, also when
    one is loaded.

    Args:
        in_channels (int): Number of channels of the images.
        embed_dims (int): Number of channels C of the tokens.
        patch_size (int): Height and width of a patch in pixels.
        grid_size (int): Height and width of the embedding in tokens.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        patch_size: int,
        grid_size: int,
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(
            in_channels, embed_dims, patch_size, stride=patch_size
        )
        self.pos_embed = nn.Parameter(torch.empty(1, grid_size**2, embed_dims))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (N, H, W, in_channels) to tokens (N, H', W', C)."""
        x = apply(self.proj, x)
        pos_embed = self._resize_grid(self.pos_embed, x.shape[1:3])
        return x + pos_embed.unflatten(1, x.shape[1:3])

    @staticmethod
    def _resize_grid(pos_embed: Tensor, size: Sequence[int]) -> Tensor:
        """Interpolates an embedding (1, S * S, C) to (1, H * W, C)."""
        old = math.isqrt(pos_embed.size(1))
        grid = pos_embed[0].unflatten(0, (old, old))
        return _resize(grid, size, align_corners=False).flatten(0, 1)[None]

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args
    ) -> None:
        name = f'{prefix}pos_embed'
        pos_embed = state_dict.get(name)
        if (
            pos_embed is not None
            and pos_embed.dim() == 3
            and pos_embed.shape[::2] == self.pos_embed.shape[::2]
            and math.isqrt(pos_embed.size(1)) ** 2 == pos_embed.size(1)
        ):
            size = math.isqrt(self.pos_embed.size(1))
            state_dict[name] = self._resize_grid(pos_embed, (size, size))
        super()._load_from_state_dict(state_dict, prefix, *args)


class GFNetBlock(MixerBlock):
    """Token mixing and channel mixing with but one residual connection.

    Args:
        embed_dims (int): Number of channels C.
        layer_scale (float, optional): Initial factor of the residual branch,
            which is learned for each channel. None means no factor.
        kwargs (dict): See :class:`MixerBlock`.
    """

    def __init__(
        self, embed_dims: int, layer_scale: Optional[float], **kwargs
    ) -> None:
        super().__init__(embed_dims, **kwargs)
        self.gamma = None
        if layer_scale is not None:
            self.gamma = nn.Parameter(torch.full((embed_dims,), layer_scale))

    def mix(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Maps tokens (N, H, W, C) to new ones."""
        mixed = self.mixer(apply(self.norm1, x), offset)
        mixed = self.ffn(apply(self.norm2, mixed))
        if self.gamma is not None:
            mixed = mixed * self.gamma
        return x + self.drop_path(mixed)


@MODELS.register_module()
class GFNet(Pyramid):
    """GFNet, the Global Filter Network.

    `Global Filter Networks for Image Classification
    <https://arxiv.org/abs/2107.00645>`_: networks of a single stage of stride
    16, and pyramids, whose output of stage i has stride 4 * 2**i.

    Filters and position embedding belong to images of one size. In others,
    of at least the largest stride, they are interpolated, at some loss of
    accuracy. To train for other images give ``img_size``: then the weights of
    a checkpoint are interpolated once, when it is loaded.

    For dense prediction there is no published code. Outputs are the tokens of
    the stages as they are; only with ``gap`` they are normalized.

    Args:
        arch (str | dict): One of 'tiny', 'xs', 'small' and 'base' (one stage),
            'h-tiny', 'h-small' and 'h-base' (pyramids), or a dict with the
            keys

            - **depths** (list[int]): Number of blocks of each stage.
            - **dims** (list[int]): Number of channels of each stage.
            - **mlp_ratios** (list[float]): Hidden channels of the MLPs of
              each stage, relative to its channels.
            - **patch_size** (int): Stride of the first stage.
            - **layer_scale** (float, optional): See :class:`GFNetBlock`.

            Defaults to 'h-tiny'.
        img_size (int): Height and width of the images in pixels that the
            weights are made for. Defaults to 224.
        mixer (dict, optional): Config of the token mixer, see
            :class:`Pyramid`. None means :class:`GlobalFilter` of the size of
            each stage. Defaults to None.
        norm_cfg (dict): See :class:`Pyramid`. Defaults to
            ``dict(type='LN', eps=1e-6)``.
        kwargs (dict): See :class:`Pyramid`.

    Raises:
        ValueError: See :class:`Pyramid`; also if ``img_size`` is less than
            the stride of the last stage.
        KeyError: See :class:`Pyramid`.
    """

    arch_settings = {
        'tiny': dict(
            depths=[12],
            dims=[256],
            mlp_ratios=[4],
            patch_size=16,
            layer_scale=None,
        ),
        'xs': dict(
            depths=[12],
            dims=[384],
            mlp_ratios=[4],
            patch_size=16,
            layer_scale=None,
        ),
        'small': dict(
            depths=[19],
            dims=[384],
            mlp_ratios=[4],
            patch_size=16,
            layer_scale=None,
        ),
        'base': dict(
            depths=[19],
            dims=[512],
            mlp_ratios=[4],
            patch_size=16,
            layer_scale=None,
        ),
        'h-tiny': dict(
            depths=[3, 3, 10, 3],
            dims=[64, 128, 256, 512],
            mlp_ratios=[4, 4, 4, 4],
            patch_size=4,
            layer_scale=1e-3,
        ),
        'h-small': dict(
            depths=[3, 3, 10, 3],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
            patch_size=4,
            layer_scale=1e-5,
        ),
        'h-base': dict(
            depths=[3, 3, 27, 3],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
            patch_size=4,
            layer_scale=1e-6,
        ),
    }

    def __init__(
        self,
        arch: Union[str, dict] = 'h-tiny',
        img_size: int = 224,
        mixer: Optional[dict] = None,
        norm_cfg: dict = dict(type='LN', eps=1e-6),
        **kwargs,
    ) -> None:
        arch = self._check_arch(arch)
        stride = arch['patch_size'] * 2 ** (len(arch['depths']) - 1)
        if img_size < stride:
            raise ValueError(
                f'img_size must be at least {stride}, but got {img_size}'
            )
        self.img_size = img_size
        super().__init__(arch, mixer=mixer, norm_cfg=norm_cfg, **kwargs)
        self.min_size = arch['patch_size'] * 2 ** (len(self.stages) - 1)

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes a projection of patches with a position embedding."""
        patch_size = self.arch['patch_size']
        return GFNetStem(
            in_channels,
            embed_dims,
            patch_size=patch_size,
            grid_size=self.img_size // patch_size,
        )

    def make_downsampling(self, in_dims: int, out_dims: int) -> nn.Module:
        """Makes a convolution of stride 2."""
        return nn.Conv2d(in_dims, out_dims, 2, stride=2)

    def make_block(self, i: int, drop_path_rate: float) -> nn.Module:
        """Makes a block of stage ``i``."""
        return GFNetBlock(
            self.arch['dims'][i],
            layer_scale=self.arch['layer_scale'],
            mixer=self.make_mixer_cfg(i),
            mlp_ratio=self.arch['mlp_ratios'][i],
            drop_path_rate=drop_path_rate,
            norm_cfg=self.norm_cfg,
            with_cp=self.with_cp,
        )

    def make_mixer_cfg(self, i: int) -> dict:
        """Makes the config of the mixers of stage ``i``."""
        if self.mixer is not None:
            return self.mixer
        return dict(
            type='mmactive.GlobalFilter',
            grid_size=self.img_size // self.arch['patch_size'] // 2**i,
        )

    def make_output_norm(self, embed_dims: int) -> nn.Module:
        """Makes the norm of a classifier."""
        if self.gap:
            return super().make_output_norm(embed_dims)
        return nn.Identity()
