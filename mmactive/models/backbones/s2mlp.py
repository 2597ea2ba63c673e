# Copyright (c) mmactive contributors. All rights reserved.
from typing import Optional, Union

import torch
from mmcv.cnn import build_activation_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmactive.ops import axial_shift
from mmactive.registry import MODELS

from ..layers import PatchEmbed, apply
from .pyramid import MixerBlock, Pyramid


@MODELS.register_module()
class Affine(nn.Module):
    """ResMLP's norm: a scale and a shift of each channel, no statistics.

    Args:
        embed_dims (int): Number of channels C.
        eps (float): Ignored. ``build_norm_layer`` gives it to every norm.
            Defaults to 0.
    """

    def __init__(self, embed_dims: int, eps: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(embed_dims))
        self.bias = nn.Parameter(torch.zeros(embed_dims))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., C) to the same shape."""
        return torch.addcmul(self.bias, x, self.weight)


@MODELS.register_module()
class S2Mixer(BaseModule):
    """The token mixer of S2-MLP: a spatial shift between two linear layers.

    Four quarters of the channels read the left, the right, the upper and the
    lower neighbour (Algorithm 1 and Eq. 3 of the paper); at the border they
    keep their own value. All of them read the tokens before the shift.

    Args:
        embed_dims (int): Number of channels C.
        act_cfg (dict): Config of the activation. Defaults to
            ``dict(type='GELU')``.
        init_cfg (dict, optional): Config of the initialization. Defaults to
            None.
    """

    def __init__(
        self,
        embed_dims: int,
        act_cfg: dict = dict(type='GELU'),
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg)
        bounds = [i * embed_dims // 4 for i in range(5)]
        sizes = [end - start for start, end in zip(bounds, bounds[1:])]
        first = [-1] * sizes[0] + [1] * sizes[1]
        second = [-1] * sizes[2] + [1] * sizes[3]
        self.shifts_w = first + [0] * len(second)
        self.shifts_h = [0] * len(first) + second
        self.fc1 = nn.Linear(embed_dims, embed_dims)
        self.act = build_activation_layer(act_cfg)
        self.fc2 = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Mixes tokens.

        Args:
            x (Tensor): Tokens of shape (N, H, W, C).
            offset (Tensor, optional): Ignored.

        Returns:
            Tensor: Mixed tokens of shape (N, H, W, C).
        """
        x = self.act(apply(self.fc1, x))
        x = axial_shift(x, self.shifts_w, dim=2, padding_mode='border')
        x = axial_shift(x, self.shifts_h, dim=1, padding_mode='border')
        return apply(self.fc2, x)


class PostNormBlock(MixerBlock):
    """Token mixing, then channel mixing, each normalized before it is added.

    Args:
        args (tuple): See :class:`MixerBlock`.
        kwargs (dict): See :class:`MixerBlock`.
    """

    def mix(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Maps tokens (N, H, W, C) to new ones."""
        mixed = apply(self.norm1, self.mixer(x, offset))
        x = x + self.drop_path(mixed)
        return x + self.drop_path(apply(self.norm2, self.ffn(x)))


@MODELS.register_module()
class S2MLP(Pyramid):
    """S2-MLP.

    `S2-MLP: Spatial-Shift MLP Architecture for Vision
    <https://arxiv.org/abs/2106.07477>`_. It has one stage of stride 16, for
    any input of at least 16 x 16 pixels, and no norm at its output. There is
    no official code.

    Args:
        arch (str | dict): 'wide' or 'deep', or a dict with **depths**,
            **dims**, **mlp_ratios** and

            - **affine** (bool): Whether the norms of the paper's network are
              :class:`Affine`.

            Defaults to 'deep'.
        mixer (dict): See :class:`Pyramid`. Defaults to
            ``dict(type='mmactive.S2Mixer')``.
        norm_position (str): 'post': at the end of each branch, and after the
            patch embedding, as the paper draws it; or 'pre': at the start of
            each branch alone, as in code of third parties. Defaults to
            'post'.
        norm_cfg (dict, optional): See :class:`Pyramid`. None means
            :class:`Affine` for norms that the architecture has it for and
            whose position is 'post', and ``dict(type='LN')`` for others.
            Defaults to None.
        kwargs (dict): See :class:`Pyramid`.
    """

    arch_settings = {
        'wide': dict(depths=[12], dims=[768], mlp_ratios=[4], affine=False),
        'deep': dict(depths=[36], dims=[384], mlp_ratios=[4], affine=True),
    }

    min_size = 16  # a patch

    def __init__(
        self,
        arch: Union[str, dict] = 'deep',
        mixer: dict = dict(type='mmactive.S2Mixer'),
        norm_position: str = 'post',
        norm_cfg: Optional[dict] = None,
        **kwargs,
    ) -> None:
        if norm_position not in ('post', 'pre'):
            raise ValueError(
                "norm_position must be 'post' or 'pre', but got "
                f'{norm_position!r}'
            )
        post = norm_position == 'post'
        self.block_type = PostNormBlock if post else MixerBlock
        if norm_cfg is None:
            affine = post and self._check_arch(arch)['affine']
            norm_cfg = dict(type='mmactive.Affine' if affine else 'LN')
        super().__init__(arch, mixer=mixer, norm_cfg=norm_cfg, **kwargs)

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes the patch embedding."""
        post = self.block_type is PostNormBlock
        norm_cfg = self.norm_cfg if post else None
        return PatchEmbed(in_channels, embed_dims, 16, norm_cfg=norm_cfg)

    def make_output_norm(self, embed_dims: int) -> nn.Module:
        """Makes no norm."""
        return nn.Identity()
