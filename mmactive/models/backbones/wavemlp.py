# Copyright (c) mmactive contributors. All rights reserved.
from typing import Any, Dict, Optional, Union

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmactive.registry import MODELS

from ..layers import ConvNorm, Reweighting, apply
from .pyramid import Pyramid


@MODELS.register_module()
class WaveMixer(BaseModule):
    """Phase-aware token mixer, Sec. 3 of the WaveMLP paper.

    Along each axis a token is a wave: its amplitude is a linear map of the
    token, its phase a second one. The waves, cosines beside sines, are summed
    up over seven tokens by a convolution. Branches of the two axes and one
    without an axis are added with weights of their means.

    As published, the convolution has one group for each output channel over
    the concatenation of all cosines and all sines: output channel g reads
    two cosines or two sines of neighbouring channels, not, as Eq. (9) has it,
    cosine and sine of its own.

    Args:
        embed_dims (int): Number of channels C.
        depthwise (bool): Whether a depthwise 3x3 convolution gives the phases
            instead of a linear layer. Defaults to False.
        phase_norm_cfg (dict): Config of the normalization of the phases.
            Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Config of the initialization. Defaults to
            None, i.e. PyTorch's own.
    """

    def __init__(
        self,
        embed_dims: int,
        depthwise: bool = False,
        phase_norm_cfg: dict = dict(type='BN'),
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg)
        phase: Dict[str, Any] = dict(kernel_size=1)
        if depthwise:
            phase = dict(
                kernel_size=3, padding=1, groups=embed_dims, bias=False
            )
        phase.update(norm_cfg=phase_norm_cfg)
        neighbours = dict(groups=embed_dims, bias=False)
        # The published h runs along the width, and w along the height.
        self.fc_h = nn.Linear(embed_dims, embed_dims, bias=False)
        self.fc_w = nn.Linear(embed_dims, embed_dims, bias=False)
        self.fc_c = nn.Linear(embed_dims, embed_dims, bias=False)
        self.phase_h = ConvNorm(embed_dims, embed_dims, **phase)
        self.phase_w = ConvNorm(embed_dims, embed_dims, **phase)
        self.sum_h = nn.Conv2d(
            2 * embed_dims, embed_dims, (1, 7), padding=(0, 3), **neighbours
        )
        self.sum_w = nn.Conv2d(
            2 * embed_dims, embed_dims, (7, 1), padding=(3, 0), **neighbours
        )
        self.fusion = Reweighting(embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Maps tokens (N, H, W, C) to new ones; offsets are ignored."""
        h = apply(
            self.sum_h, _wave(apply(self.fc_h, x), self.phase_h(x).relu())
        )
        w = apply(
            self.sum_w, _wave(apply(self.fc_w, x), self.phase_w(x).relu())
        )
        return apply(self.proj, self.fusion(h, w, apply(self.fc_c, x)))


def _wave(amplitude: Tensor, phase: Tensor) -> Tensor:
    """Maps tokens (..., C) to their real and imaginary parts (..., 2C)."""
    return torch.cat(
        (amplitude * phase.cos(), amplitude * phase.sin()), dim=-1
    )


@MODELS.register_module()
class WaveMLP(Pyramid):
    """WaveMLP.

    `An Image Patch is a Wave: Phase-Aware Vision MLP
    <https://arxiv.org/abs/2111.12294>`_. The output of stage i has stride
    4 * 2**i; any input of at least 32 x 32 pixels is accepted.

    Args:
        arch (str | dict): One of 'tiny-dw' (the paper's T*), 'tiny', 'small',
            'medium', 'base', or of 'small-dw', 'medium-dw' and 'base-dw',
            whose sizes are those of the paper's detectors and segmentors, or
            a dict with the keys

            - **depths** (list[int]): Number of blocks of each stage.
            - **dims** (list[int]): Number of channels of each stage.
            - **mlp_ratios** (list[float]): Hidden channels of the MLPs of
              each stage, relative to its channels.
            - **depthwise** (bool): See :class:`WaveMixer`.
            - **norm_cfg** (dict): Config of the normalization.
            - **downsample_norm** (bool): Whether stem and downsampling layers
              end with a norm.

            Defaults to 'tiny'.
        mixer (dict, optional): Config of the token mixer, see
            :class:`Pyramid`. None means :class:`WaveMixer` with
            ``arch['depthwise']``. Defaults to None.
        norm_cfg (dict, optional): Config of the normalization, the outputs'
            too. None means ``arch['norm_cfg']``. Defaults to None.
        kwargs (dict): See :class:`Pyramid`.

    Raises:
        ValueError: See :class:`Pyramid`.
        KeyError: See :class:`Pyramid`.
    """

    arch_settings = {
        'tiny-dw': dict(
            depths=[2, 2, 4, 2],
            dims=[64, 128, 320, 512],
            mlp_ratios=[4, 4, 4, 4],
            depthwise=True,
            norm_cfg=dict(type='BN'),
            downsample_norm=True,
        ),
        'tiny': dict(
            depths=[2, 2, 4, 2],
            dims=[64, 128, 320, 512],
            mlp_ratios=[4, 4, 4, 4],
            depthwise=False,
            norm_cfg=dict(type='BN'),
            downsample_norm=True,
        ),
        'small': dict(
            depths=[2, 3, 10, 3],
            dims=[64, 128, 320, 512],
            mlp_ratios=[4, 4, 4, 4],
            depthwise=False,
            norm_cfg=dict(type='GN', num_groups=1),
            downsample_norm=True,
        ),
        'medium': dict(
            depths=[3, 4, 18, 3],
            dims=[64, 128, 320, 512],
            mlp_ratios=[8, 8, 4, 4],
            depthwise=False,
            norm_cfg=dict(type='GN', num_groups=1),
            downsample_norm=False,
        ),
        'base': dict(
            depths=[2, 2, 18, 2],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
            depthwise=False,
            norm_cfg=dict(type='GN', num_groups=1),
            downsample_norm=False,
        ),
    }
    arch_settings.update(
        (f'{name}-dw', dict(arch, depthwise=True))
        for name, arch in [*arch_settings.items()][2:]
    )

    # The published linear layers but the head are 1x1 convolutions, which
    # keep PyTorch's initialization.
    default_init_cfg = []

    def __init__(
        self,
        arch: Union[str, dict] = 'tiny',
        mixer: Optional[dict] = None,
        norm_cfg: Optional[dict] = None,
        **kwargs,
    ) -> None:
        arch = self._check_arch(arch)
        self.downsample_norm_cfg = None
        if norm_cfg is None:
            norm_cfg = arch['norm_cfg']
        if arch['downsample_norm']:
            self.downsample_norm_cfg = norm_cfg
        super().__init__(arch, mixer=mixer, norm_cfg=norm_cfg, **kwargs)

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes a convolution, and a norm if the architecture has it."""
        return ConvNorm(
            in_channels,
            embed_dims,
            7,
            norm_cfg=self.downsample_norm_cfg,
            stride=4,
            padding=2,
        )

    def make_downsampling(self, in_dims: int, out_dims: int) -> nn.Module:
        """Makes a convolution, and a norm if the architecture has it."""
        return ConvNorm(
            in_dims,
            out_dims,
            3,
            norm_cfg=self.downsample_norm_cfg,
            stride=2,
            padding=1,
        )

    def make_mixer_cfg(self, i: int) -> dict:
        """Makes the config of the mixers, which is that of all stages."""
        if self.mixer is None:
            return dict(
                type='mmactive.WaveMixer', depthwise=self.arch['depthwise']
            )
        return self.mixer
