# Copyright (c) mmactive contributors. All rights reserved.
from typing import Optional, Union

from mmcv.cnn import build_activation_layer, build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmactive.ops import axial_shift
from mmactive.registry import MODELS

from ..layers import PatchEmbed, PatchMerging, apply
from ..layers.recompute import recompute
from .pyramid import Pyramid


@MODELS.register_module()
class AxialShiftMixer(BaseModule):
    """The token mixer of AS-MLP.

    The channels are cut into ``shift_size`` chunks; along either axis the
    first chunk reads furthest ahead and the last one furthest back, and zeros
    outside of the image.

    Args:
        embed_dims (int): Number of channels C.
        shift_size (int): Number of tokens that are read along an axis, odd.
            Defaults to 5.
        norm_cfg (dict): Config of the normalization. Defaults to
            ``dict(type='GN', num_groups=1)``.
        act_cfg (dict): Config of the activation. Defaults to
            ``dict(type='GELU')``.
        init_cfg (dict, optional): Config of the initialization. Defaults to
            None.

    Raises:
        ValueError: If ``shift_size`` is even.
    """

    def __init__(
        self,
        embed_dims: int,
        shift_size: int = 5,
        norm_cfg: dict = dict(type='GN', num_groups=1),
        act_cfg: dict = dict(type='GELU'),
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg)
        if shift_size < 1 or shift_size % 2 == 0:
            raise ValueError(
                f'shift_size must be an odd number, but got {shift_size}'
            )
        chunk = -(-embed_dims // shift_size)
        self.shifts = [shift_size // 2 - c // chunk for c in range(embed_dims)]
        self.fc1 = nn.Linear(embed_dims, embed_dims)
        self.norm1 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.fc_w = nn.Linear(embed_dims, embed_dims)
        self.fc_h = nn.Linear(embed_dims, embed_dims)
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.act = build_activation_layer(act_cfg)

    def forward(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Mixes tokens.

        Args:
            x (Tensor): Tokens of shape (N, H, W, C).
            offset (Tensor, optional): Ignored.

        Returns:
            Tensor: Mixed tokens of shape (N, H, W, C).
        """
        x = self.act(apply(self.norm1, apply(self.fc1, x)))
        w = self._mix_axis(self.fc_w, x, dim=2)
        h = self._mix_axis(self.fc_h, x, dim=1)
        return apply(self.proj, apply(self.norm2, w + h))

    def _mix_axis(self, layer: nn.Linear, x: Tensor, dim: int) -> Tensor:
        """Shifts the tokens along one axis and applies its layer."""

        def _forward(x):
            return apply(layer, axial_shift(x, self.shifts, dim))

        return self.act(
            recompute(_forward, x) if self.training else _forward(x)
        )


@MODELS.register_module()
class ASMLP(Pyramid):
    """AS-MLP.

    `AS-MLP: An Axial Shifted MLP Architecture for Vision
    <https://arxiv.org/abs/2107.08391>`_. The output of stage i has stride
    4 * 2**i, for any input. Images and maps that do not divide are filled up
    with zeros at the bottom and at the right.

    Its norms take the mean over all positions: what an image is padded to
    changes all of its features.

    Args:
        arch (str | dict): One of 'tiny', 'small' and 'base', or a dict with
            **depths**, **dims** and **mlp_ratios**. Defaults to 'tiny'.
        mixer (dict): See :class:`Pyramid`. Defaults to
            ``dict(type='mmactive.AxialShiftMixer')``.
        norm_cfg (dict): See :class:`Pyramid`. Defaults to
            ``dict(type='GN', num_groups=1)``.
        kwargs (dict): See :class:`Pyramid`.
    """

    arch_settings = {
        'tiny': dict(
            depths=[2, 2, 6, 2],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
        ),
        'small': dict(
            depths=[2, 2, 18, 2],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
        ),
        'base': dict(
            depths=[2, 2, 18, 2],
            dims=[128, 256, 512, 1024],
            mlp_ratios=[4, 4, 4, 4],
        ),
    }

    # PyTorch's own, as the published networks
    default_init_cfg = []

    def __init__(
        self,
        arch: Union[str, dict] = 'tiny',
        mixer: dict = dict(type='mmactive.AxialShiftMixer'),
        norm_cfg: dict = dict(type='GN', num_groups=1),
        **kwargs,
    ) -> None:
        super().__init__(arch, mixer=mixer, norm_cfg=norm_cfg, **kwargs)

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes the patch embedding."""
        return PatchEmbed(
            in_channels, embed_dims, 4, norm_cfg=self.norm_cfg, pad=True
        )

    def make_downsampling(self, in_dims: int, out_dims: int) -> nn.Module:
        """Makes a patch merging."""
        return PatchMerging(in_dims, out_dims, norm_cfg=self.norm_cfg)
