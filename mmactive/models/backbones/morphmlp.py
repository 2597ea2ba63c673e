# Copyright (c) mmactive contributors. All rights reserved.
from typing import Any, Dict, Optional, Union

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmactive.registry import MODELS

from ..layers import ConvNorm, Reweighting, apply
from .pyramid import Pyramid


@MODELS.register_module()
class MorphMixer(BaseModule):
    """The token mixer of MorphMLP, made of MorphFC (Sec. 3 of the paper).

    The tokens of an image are cut into chunks of L tokens. In each chunk, and
    in each of L groups of C / L channels, the L * C / L = C numbers are mixed
    by a linear layer that all chunks and groups share.

    Without ``strided`` there are chunks of neighbouring tokens along the rows,
    others along the columns, both running on from the end of one row or column
    to the start of the next, and a branch of single tokens. With ``strided``
    the tokens of a chunk are spread evenly over the image, as far from each
    other as there are chunks; this branch takes the place of the former two.

    The published code takes only images whose number of tokens is a multiple
    of L. Here the sequence of tokens is filled up with zeros at its end, which
    is cut off again.

    Args:
        embed_dims (int): Number of channels C.
        chunk_size (int): Number of tokens L of a chunk; it divides C. Defaults
            to 16.
        strided (bool): Whether a chunk covers the whole image. Defaults to
            False.
        init_cfg (dict, optional): Config of the initialization. Defaults to a
            truncated normal distribution of std 0.02.

    Raises:
        ValueError: If ``chunk_size`` does not divide ``embed_dims``.
    """

    def __init__(
        self,
        embed_dims: int,
        chunk_size: int = 16,
        strided: bool = False,
        init_cfg: Optional[dict] = dict(
            type='TruncNormal', layer='Linear', std=0.02, bias=0.0
        ),
    ) -> None:
        super().__init__(init_cfg)
        if chunk_size < 1 or embed_dims % chunk_size:
            raise ValueError(
                f'chunk_size must divide embed_dims, but got {chunk_size} and '
                f'{embed_dims}'
            )
        self.chunk_size = chunk_size
        self.strided = strided
        self.fc_h = nn.Linear(embed_dims, embed_dims)
        if not strided:
            self.fc_w = nn.Linear(embed_dims, embed_dims)
        self.fc_c = nn.Linear(embed_dims, embed_dims)
        self.fusion = Reweighting(embed_dims, num_branches=3 - strided)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Maps tokens (N, H, W, C) to new ones; offsets are ignored."""
        if self.strided:
            branches = [self._mix_chunks(self.fc_h, x)]
        else:
            columns = self._mix_chunks(self.fc_h, x.transpose(1, 2))
            rows = self._mix_chunks(self.fc_w, x)
            branches = [columns.transpose(1, 2), rows]
        return apply(self.proj, self.fusion(*branches, apply(self.fc_c, x)))

    def _mix_chunks(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """Applies a layer to the chunks of the tokens in their order."""
        size = self.chunk_size
        sequence = x.flatten(1, 2)  # (N, T, C)
        num_tokens = sequence.size(1)
        sequence = F.pad(sequence, (0, 0, 0, -num_tokens % size))
        # The tokens of a chunk become dimension 2, chunks dimension 1.
        if self.strided:
            chunks = sequence.unflatten(1, (size, -1)).transpose(1, 2)
        else:
            chunks = sequence.unflatten(1, (-1, size))
        groups = chunks.unflatten(3, (size, -1)).transpose(2, 3)
        mixed = layer(groups.flatten(3)).unflatten(3, (size, -1))
        chunks = mixed.transpose(2, 3).flatten(3)
        if self.strided:
            chunks = chunks.transpose(1, 2)
        sequence = chunks.flatten(1, 2)[:, :num_tokens]
        return sequence.unflatten(1, x.shape[1:3])


@MODELS.register_module()
class MorphMLP(Pyramid):
    """MorphMLP, the network for images.

    `MorphMLP: An Efficient MLP-Like Backbone for Spatial-Temporal
    Representation Learning <https://arxiv.org/abs/2111.12527>`_. Its authors
    have published the network for videos: this is the same without the layers
    along the time. The output of stage i has stride 4 * 2**i, for any input,
    see :class:`MorphMixer`. Which norm the outputs for dense prediction have
    is not known; here it is that of the classifier.

    Args:
        arch (str | dict): One of 'tiny', 'small', 'base' and 'large', or a
            dict with the keys

            - **depths** (list[int]): Number of blocks of each stage.
            - **dims** (list[int]): Number of channels of each stage.
            - **mlp_ratios** (list[float]): Hidden channels of the MLPs of
              each stage, relative to its channels.
            - **chunk_sizes** (list[int]): Number of tokens of a chunk in each
              stage; it divides the channels. The last stage is the strided
              one.

            Defaults to 'tiny'.
        mixer (dict, optional): Config of the token mixer, see
            :class:`Pyramid`. None means :class:`MorphMixer` with the sizes of
            the architecture. Defaults to None.
        kwargs (dict): See :class:`Pyramid`.

    Raises:
        ValueError: See :class:`Pyramid` and :class:`MorphMixer`.
        KeyError: See :class:`Pyramid`.
    """

    arch_settings = {
        'tiny': dict(
            depths=[3, 4, 7, 3],
            dims=[84, 168, 336, 588],
            mlp_ratios=[3, 3, 3, 3],
            chunk_sizes=[14, 28, 28, 49],
        ),
        'small': dict(
            depths=[3, 4, 9, 3],
            dims=[112, 224, 392, 784],
            mlp_ratios=[3, 3, 3, 3],
            chunk_sizes=[14, 28, 28, 49],
        ),
        'base': dict(
            depths=[4, 6, 15, 4],
            dims=[112, 224, 392, 784],
            mlp_ratios=[3, 3, 3, 3],
            chunk_sizes=[14, 28, 28, 49],
        ),
        'large': dict(
            depths=[4, 8, 18, 6],
            dims=[112, 224, 392, 784],
            mlp_ratios=[3, 3, 3, 3],
            chunk_sizes=[14, 28, 28, 49],
        ),
    }

    def __init__(
        self,
        arch: Union[str, dict] = 'tiny',
        mixer: Optional[dict] = None,
        **kwargs,
    ) -> None:
        super().__init__(arch, mixer=mixer, **kwargs)

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes two convolutions of stride 2, each with a batch norm."""
        norm_cfg = dict(type='BN')
        settings: Dict[str, Any] = dict(norm_cfg=norm_cfg, stride=2, padding=1)
        hidden_dims = embed_dims // 2
        return nn.Sequential(
            ConvNorm(in_channels, hidden_dims, 3, **settings),
            nn.GELU(),
            ConvNorm(hidden_dims, embed_dims, 3, **settings),
        )

    def make_downsampling(self, in_dims: int, out_dims: int) -> nn.Module:
        """Makes a convolution of stride 2 and a norm."""
        return ConvNorm(
            in_dims, out_dims, 3, norm_cfg=self.norm_cfg, stride=2, padding=1
        )

    def make_mixer_cfg(self, i: int) -> dict:
        """Makes the config of the mixers of stage ``i``."""
        if self.mixer is not None:
            return self.mixer
        return dict(
            type='mmactive.MorphMixer',
            chunk_size=self.arch['chunk_sizes'][i],
            strided=i == len(self.arch['depths']) - 1,
        )
