# Copyright (c) mmactive contributors. All rights reserved.
from typing import Optional, Union

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmactive.registry import MODELS

from ..layers import Reweighting, apply
from .pyramid import Pyramid


@MODELS.register_module()
class PermuteMixer(BaseModule):
    """Weighted Permute-MLP, the token mixer of ViP (Sec. 3.1 of the paper).

    The channels are cut into S segments of C / S channels. A linear layer
    mixes the S * C / S = C numbers that a segment has in a column of S tokens,
    another one those in a row, and a third one the channels of a token. The
    shapes of the weights do not tell S: those trained with another S load as
    well, but mean something else.

    Args:
        embed_dims (int): Number of channels C.
        num_segments (int): Number of segments S, and height and width of the
            maps in tokens; it divides C. Defaults to 16.
        init_cfg (dict, optional): Config of the initialization. Defaults to a
            truncated normal distribution of std 0.02.

    Raises:
        ValueError: If ``num_segments`` does not divide ``embed_dims``.
    """

    def __init__(
        self,
        embed_dims: int,
        num_segments: int = 16,
        init_cfg: Optional[dict] = dict(
            type='TruncNormal', layer='Linear', std=0.02, bias=0.0
        ),
    ) -> None:
        super().__init__(init_cfg)
        if num_segments < 1 or embed_dims % num_segments:
            raise ValueError(
                f'num_segments must divide embed_dims, but got {num_segments} '
                f'and {embed_dims}'
            )
        self.num_segments = num_segments
        self.fc_h = nn.Linear(embed_dims, embed_dims, bias=False)
        self.fc_w = nn.Linear(embed_dims, embed_dims, bias=False)
        self.fc_c = nn.Linear(embed_dims, embed_dims, bias=False)
        self.fusion = Reweighting(embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Maps tokens to new ones; offsets are ignored.

        Args:
            x (Tensor): Tokens of shape (N, S, S, C).
            offset (Tensor, optional): Ignored.

        Returns:
            Tensor: Tokens of shape (N, S, S, C).

        Raises:
            ValueError: If ``x`` has another height or width.
        """
        size = self.num_segments
        if x.shape[1:3] != (size, size):
            raise ValueError(
                f'PermuteMixer with num_segments={size} takes maps of {size} '
                f'x {size} tokens, but got {x.size(1)} x {x.size(2)}'
            )
        columns = self._mix_rows(self.fc_h, x.transpose(1, 2))
        rows = self._mix_rows(self.fc_w, x)
        return apply(
            self.proj,
            self.fusion(columns.transpose(1, 2), rows, apply(self.fc_c, x)),
        )

    def _mix_rows(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """Applies a layer to each segment of each row."""
        segments = x.unflatten(3, (self.num_segments, -1)).transpose(2, 3)
        mixed = layer(segments.flatten(3)).unflatten(3, segments.shape[3:])
        return mixed.transpose(2, 3).flatten(3)


@MODELS.register_module()
class ViP(Pyramid):
    """ViP, the Vision Permutator.

    `Vision Permutator: A Permutable MLP-Like Architecture for Visual
    Recognition <https://arxiv.org/abs/2106.12368>`_. It classifies images of
    224 x 224 pixels and nothing else: height and width of its maps are
    dimensions of its weights. The outputs have strides 7 and 14.

    Args:
        arch (str | dict): One of 'small', 'medium' and 'large' (ViP-Small/7,
            -Medium/7, -Large/7), or a dict with the keys

            - **depths** (list[int]): Number of blocks of each stage.
            - **dims** (list[int]): Number of channels of each stage. Between
              stages of different numbers height and width are halved.
            - **mlp_ratios** (list[float]): Hidden channels of the MLPs of
              each stage, relative to its channels.
            - **num_segments** (list[int]): Number of segments, and height and
              width in tokens, of each stage. Images are 7 times as large as
              the first of them. They have to be those that weights were
              trained with, which the shapes of these do not tell.

            Defaults to 'small'.
        mixer (dict, optional): Config of the token mixer, see
            :class:`Pyramid`. None means :class:`PermuteMixer` with the sizes
            of the architecture. Defaults to None.
        kwargs (dict): See :class:`Pyramid`.

    Raises:
        ValueError: See :class:`Pyramid`; also if an image has another size.
        KeyError: See :class:`Pyramid`.
    """

    arch_settings = {
        'small': dict(
            depths=[4, 3, 8, 3],
            dims=[192, 384, 384, 384],
            mlp_ratios=[3, 3, 3, 3],
            num_segments=[32, 16, 16, 16],
        ),
        'medium': dict(
            depths=[4, 3, 14, 3],
            dims=[256, 256, 512, 512],
            mlp_ratios=[3, 3, 3, 3],
            num_segments=[32, 32, 16, 16],
        ),
        'large': dict(
            depths=[8, 8, 16, 4],
            dims=[256, 512, 512, 512],
            mlp_ratios=[3, 3, 3, 3],
            num_segments=[32, 16, 16, 16],
        ),
    }

    def __init__(
        self,
        arch: Union[str, dict] = 'small',
        mixer: Optional[dict] = None,
        **kwargs,
    ) -> None:
        super().__init__(arch, mixer=mixer, **kwargs)
        if mixer is None:
            self.image_size = 7 * self.arch['num_segments'][0]

    @classmethod
    def _check_arch(cls, arch: Union[str, dict]) -> dict:
        arch = super()._check_arch(arch)
        dims, sizes = arch['dims'], arch['num_segments']
        for i in range(1, len(dims)):
            stride = 1 if dims[i] == dims[i - 1] else 2
            if sizes[i] * stride != sizes[i - 1]:
                raise ValueError(
                    "arch['num_segments'] must be halved where arch['dims'] "
                    f'change, and nowhere else, but got {sizes} and {dims}'
                )
        return arch

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes a projection of patches of 7 x 7 pixels."""
        return nn.Conv2d(in_channels, embed_dims, 7, stride=7)

    def make_downsampling(self, in_dims: int, out_dims: int) -> nn.Module:
        """Makes a convolution of stride 2, or nothing between equals."""
        if in_dims == out_dims:
            return nn.Identity()
        return nn.Conv2d(in_dims, out_dims, 2, stride=2)

    def make_mixer_cfg(self, i: int) -> dict:
        """Makes the config of the mixers of stage ``i``."""
        if self.mixer is not None:
            return self.mixer
        return dict(
            type='mmactive.PermuteMixer',
            num_segments=self.arch['num_segments'][i],
        )
