# Copyright (c) mmactive contributors. All rights reserved.
from typing import Optional, Union

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmactive.ops import axial_shift
from mmactive.registry import MODELS

from ..layers import PatchEmbed, apply
from .pyramid import MixerBlock, Pyramid


@MODELS.register_module()
class ShiftMixer(BaseModule):
    """The token mixer of ShiftViT: no parameters and no multiplications.

    Four groups of C // ``num_div`` channels read the right, the left, the
    lower and the upper neighbour, and zeros outside of the image. The other
    channels stay.

    Args:
        embed_dims (int): Number of channels C.
        num_div (int): One of how many channels goes into each direction, at
            least 4. Defaults to 12.
        init_cfg (dict, optional): Config of the initialization. Defaults to
            None.

    Raises:
        ValueError: If ``num_div`` is less than 4.
    """

    def __init__(
        self,
        embed_dims: int,
        num_div: int = 12,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_div < 4:
            raise ValueError(f'num_div must be at least 4, but got {num_div}')
        size = embed_dims // num_div
        pair, rest = [1] * size + [-1] * size, [0] * (embed_dims - 4 * size)
        self.shifts_w = pair + [0] * (2 * size) + rest
        self.shifts_h = [0] * (2 * size) + pair + rest

    def forward(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Mixes tokens.

        Args:
            x (Tensor): Tokens of shape (N, H, W, C).
            offset (Tensor, optional): Ignored.

        Returns:
            Tensor: Mixed tokens of shape (N, H, W, C).
        """
        x = axial_shift(x, self.shifts_w, dim=2)
        return axial_shift(x, self.shifts_h, dim=1)


class ShiftViTBlock(MixerBlock):
    """Mixes tokens with neither a norm nor a skip, then channels with both.

    Args:
        args (tuple): See :class:`MixerBlock`.
        kwargs (dict): See :class:`MixerBlock`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        del self.norm1

    def mix(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Maps tokens (N, H, W, C) to new ones."""
        x = self.mixer(x, offset)
        return x + self.drop_path(self.ffn(apply(self.norm2, x)))


class ShiftViTDownsampling(BaseModule):
    """A norm and a 2x2 convolution of stride 2.

    Args:
        in_dims (int): Number of input channels.
        out_dims (int): Number of output channels.
        norm_cfg (dict): Config of the normalization.
    """

    def __init__(self, in_dims: int, out_dims: int, norm_cfg: dict) -> None:
        super().__init__()
        self.norm = build_norm_layer(norm_cfg, in_dims)[1]
        self.reduction = nn.Conv2d(in_dims, out_dims, 2, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, H, W, in_dims) to (N, H // 2, W // 2, out_dims)."""
        return apply(self.reduction, apply(self.norm, x))


@MODELS.register_module()
class ShiftViT(Pyramid):
    """ShiftViT.

    `When Shift Operation Meets Vision Transformer: An Extremely Simple
    Alternative to Attention Mechanism <https://arxiv.org/abs/2201.10801>`_.
    The output of stage i has stride 4 * 2**i, for any input of at least 32 x
    32 pixels.

    Dense prediction is not among the published code; as in Swin, each output
    has a norm of its own.

    Args:
        arch (str | dict): One of 'tiny', 'small' and 'base', the networks of
            the paper's main tables, or of these with '-light' (the depths of
            Swin) or '-r4' (MLPs of ratio 4 and fewer blocks); or a dict with
            **depths**, **dims**, **mlp_ratios** and

            - **num_div** (int): See :class:`ShiftMixer`.

            Defaults to 'tiny'.
        mixer (dict, optional): See :class:`Pyramid`. None means
            :class:`ShiftMixer`. Defaults to None.
        norm_cfg (dict): See :class:`Pyramid`. Defaults to
            ``dict(type='GN', num_groups=1)``.
        kwargs (dict): See :class:`Pyramid`.
    """

    arch_settings = {
        'tiny': dict(
            depths=[6, 8, 18, 6],
            dims=[96, 192, 384, 768],
            mlp_ratios=[2, 2, 2, 2],
            num_div=12,
        ),
        'small': dict(
            depths=[10, 18, 36, 10],
            dims=[96, 192, 384, 768],
            mlp_ratios=[2, 2, 2, 2],
            num_div=12,
        ),
        'base': dict(
            depths=[10, 18, 36, 10],
            dims=[128, 256, 512, 1024],
            mlp_ratios=[2, 2, 2, 2],
            num_div=16,
        ),
        'tiny-light': dict(
            depths=[2, 2, 6, 2],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
            num_div=12,
        ),
        'small-light': dict(
            depths=[2, 2, 18, 2],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
            num_div=12,
        ),
        'base-light': dict(
            depths=[2, 2, 18, 2],
            dims=[128, 256, 512, 1024],
            mlp_ratios=[4, 4, 4, 4],
            num_div=16,
        ),
        'tiny-r4': dict(
            depths=[2, 2, 12, 3],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
            num_div=12,
        ),
        'small-r4': dict(
            depths=[2, 6, 24, 4],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
            num_div=12,
        ),
        'base-r4': dict(
            depths=[4, 6, 22, 4],
            dims=[128, 256, 512, 1024],
            mlp_ratios=[4, 4, 4, 4],
            num_div=16,
        ),
    }

    block_type = ShiftViTBlock

    default_init_cfg = [
        dict(type='TruncNormal', layer=['Linear', 'Conv2d'], std=0.02)
    ]

    def __init__(
        self,
        arch: Union[str, dict] = 'tiny',
        mixer: Optional[dict] = None,
        norm_cfg: dict = dict(type='GN', num_groups=1),
        **kwargs,
    ) -> None:
        super().__init__(arch, mixer=mixer, norm_cfg=norm_cfg, **kwargs)
        self.min_size = 4 * 2 ** (len(self.stages) - 1)

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes the patch embedding."""
        return PatchEmbed(in_channels, embed_dims, 4, norm_cfg=self.norm_cfg)

    def make_downsampling(self, in_dims: int, out_dims: int) -> nn.Module:
        """Makes a norm and a convolution of stride 2."""
        return ShiftViTDownsampling(in_dims, out_dims, self.norm_cfg)

    def make_mixer_cfg(self, i: int) -> dict:
        """Makes the config of the token mixers."""
        if self.mixer is not None:
            return self.mixer
        return dict(type='mmactive.ShiftMixer', num_div=self.arch['num_div'])
