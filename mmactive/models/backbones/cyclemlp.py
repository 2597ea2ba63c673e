# Copyright (c) mmactive contributors. All rights reserved.
from typing import Optional, Union

from torch import Tensor, nn

from mmactive.ops import axial_shift
from mmactive.registry import MODELS

from ..layers import ActiveTokenMixer, PatchEmbed, PatchMerging
from .pyramid import Pyramid


class _SumOfBranches(nn.Module):
    """Stands where other mixers reweight their branches."""

    def forward(self, *branches: Tensor) -> Tensor:
        """Adds tokens of shape (N, H, W, C)."""
        return sum(branches[1:], branches[0])


@MODELS.register_module()
class CycleMixer(ActiveTokenMixer):
    """The token mixer of CycleMLP, made of CycleFC.

    It is ATM with fixed offsets: along either axis, neighbouring channels read
    the token itself, the next one, the previous one, and so on in a cycle,
    and zeros outside of the image.

    Args:
        embed_dims (int): Number of channels C.
        reweight (bool): Whether the branches are weighted before they are
            added. Defaults to True.
        kwargs (dict): See :class:`ActiveTokenMixer`.
    """

    def __init__(
        self, embed_dims: int, reweight: bool = True, **kwargs
    ) -> None:
        super().__init__(embed_dims, **kwargs)
        self.shifts = [(c + 1) % 3 - 1 for c in range(embed_dims)]
        if not reweight:
            self.fusion = _SumOfBranches()

    def switch_to_deploy(self) -> None:
        """Makes inference faster, see :class:`ActiveTokenMixer`."""
        self.deploy = not isinstance(self.fusion, _SumOfBranches)

    def recompose(
        self, x: Tensor, offset: Optional[Tensor], dim: int
    ) -> Tensor:
        """Shifts tokens (N, H, W, C) along an axis, and ignores offsets."""
        return axial_shift(x, self.shifts, dim)


@MODELS.register_module()
class CycleMLP(Pyramid):
    """CycleMLP.

    `CycleMLP: A MLP-like Architecture for Dense Prediction
    <https://arxiv.org/abs/2107.10224>`_. The output of stage i has stride
    4 * 2**i, for any input of at least 32 x 32 pixels.

    'b1' to 'b5' are the published networks. 'tiny', 'small' and 'base' are a
    reconstruction: neither code nor weights of them are described, but with
    Swin's stem, patch merging and depths and without reweighting they have the
    published number of parameters and multiply-adds.

    Args:
        arch (str | dict): One of 'b1' to 'b5', 'tiny', 'small' and 'base', or
            a dict with **depths**, **dims**, **mlp_ratios** and

            - **swin** (bool): Whether the stem and the downsamplings are
              those of Swin, and branches are added without weights.

            Defaults to 'b2'.
        mixer (dict, optional): See :class:`Pyramid`. None means
            :class:`CycleMixer` as the architecture has it. Defaults to None.
        kwargs (dict): See :class:`Pyramid`.
    """

    arch_settings = {
        'b1': dict(
            depths=[2, 2, 4, 2],
            dims=[64, 128, 320, 512],
            mlp_ratios=[4, 4, 4, 4],
            swin=False,
        ),
        'b2': dict(
            depths=[2, 3, 10, 3],
            dims=[64, 128, 320, 512],
            mlp_ratios=[4, 4, 4, 4],
            swin=False,
        ),
        'b3': dict(
            depths=[3, 4, 18, 3],
            dims=[64, 128, 320, 512],
            mlp_ratios=[8, 8, 4, 4],
            swin=False,
        ),
        'b4': dict(
            depths=[3, 8, 27, 3],
            dims=[64, 128, 320, 512],
            mlp_ratios=[8, 8, 4, 4],
            swin=False,
        ),
        'b5': dict(
            depths=[3, 4, 24, 3],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
            swin=False,
        ),
        'tiny': dict(
            depths=[2, 2, 6, 2],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
            swin=True,
        ),
        'small': dict(
            depths=[2, 2, 18, 2],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
            swin=True,
        ),
        'base': dict(
            depths=[2, 2, 18, 2],
            dims=[128, 256, 512, 1024],
            mlp_ratios=[4, 4, 4, 4],
            swin=True,
        ),
    }

    def __init__(
        self,
        arch: Union[str, dict] = 'b2',
        mixer: Optional[dict] = None,
        **kwargs,
    ) -> None:
        super().__init__(arch, mixer=mixer, **kwargs)

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes a convolution of stride 4, or Swin's patch embedding."""
        if not self.arch['swin']:
            return super().make_stem(in_channels, embed_dims)
        return PatchEmbed(
            in_channels, embed_dims, 4, norm_cfg=self.norm_cfg, pad=True
        )

    def make_downsampling(self, in_dims: int, out_dims: int) -> nn.Module:
        """Makes a convolution of stride 2, or Swin's patch merging."""
        if not self.arch['swin']:
            return super().make_downsampling(in_dims, out_dims)
        return PatchMerging(in_dims, out_dims, norm_cfg=self.norm_cfg)

    def make_mixer_cfg(self, i: int) -> dict:
        """Makes the config of the token mixers."""
        if self.mixer is not None:
            return self.mixer
        return dict(type='mmactive.CycleMixer', reweight=not self.arch['swin'])
