# Copyright (c) mmactive contributors. All rights reserved.
import math
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
import torch.utils.checkpoint as cp
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmactive.registry import MODELS

from ..layers import apply
from .pyramid import MixerBlock, Pyramid


class ActiveMLPBlock(MixerBlock):
    """Token mixing, then channel mixing: Eq. (5) and (6) of the paper.

    Args:
        embed_dims (int): Number of channels C.
        offset_dims (int): Number of offsets that the block predicts for every
            token, of both axes together. 0 means that it takes those of an
            earlier block.
        norm_cfg (dict): Config of the normalization.
        kwargs (dict): See :class:`MixerBlock`.
    """

    def __init__(
        self, embed_dims: int, offset_dims: int, norm_cfg: dict, **kwargs
    ) -> None:
        super().__init__(embed_dims, norm_cfg=norm_cfg, **kwargs)
        offset_layer = None
        if offset_dims > 0:
            offset_layer = nn.Sequential(
                build_norm_layer(norm_cfg, embed_dims)[1],
                nn.Linear(embed_dims, offset_dims),
            )
        # The first of the modules, since optimizers' checkpoints number the
        # parameters in this order.
        modules: Dict[str, Any] = dict(vars(self)['_modules'])
        self._modules = dict(offset_layer=offset_layer, **modules)

    def predict_offset(self, x: Tensor) -> Tensor:
        """Predicts the offsets (N, H, W, 2G) of tokens (N, H, W, C).

        Autocast does not apply: half precision cannot tell neighbouring
        positions apart on axes of hundreds of tokens.
        """
        norm, linear = self.offset_layer
        device = x.device.type
        # Autocast does not know the meta device.
        if device == 'meta' or not torch.is_autocast_enabled(device):
            return apply(linear, apply(norm, x))
        with torch.autocast(device, enabled=False):
            x = x.to(linear.weight.dtype)
            return apply(linear, apply(norm, x))

    def forward(  # type: ignore[override]
        self, x: Tensor, offset: Optional[Tensor]
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Returns the new tokens and the offsets that were used."""

        def _forward(x, offset):
            if self.offset_layer is not None:
                offset = self.predict_offset(x)
            return self.mix(x, offset), offset

        if self.with_cp and x.requires_grad:
            return cp.checkpoint(_forward, x, offset, use_reentrant=False)
        return _forward(x, offset)


class ActiveMLPStage(BaseModule):
    """Blocks of one resolution, which share offsets (Sec. 3.2.1).

    Every ``interval``-th block, but not the last one of several, predicts new
    offsets; the others use the newest. Before each of these the stage's
    positional encoding generator (PEG) adds a depthwise convolution to the
    tokens.

    Args:
        embed_dims (int): Number of channels C.
        depth (int): Number of blocks.
        mlp_ratio (float): See :class:`ActiveMLPBlock`.
        shared_channels (int): Number of neighbouring channels S that an offset
            serves.
        interval (int, optional): Number of blocks K from one prediction of
            offsets to the next. None means no offsets.
        use_peg (bool): Whether there is a PEG.
        drop_path_rates (list[float]): One for each block.
        mixer (dict): See :class:`ActiveMLPBlock`.
        norm_cfg (dict): Config of the normalization.
        with_cp (bool): See :class:`ActiveMLPBlock`.
    """

    def __init__(
        self,
        embed_dims: int,
        depth: int,
        mlp_ratio: float,
        shared_channels: int,
        interval: Optional[int],
        use_peg: bool,
        drop_path_rates: List[float],
        mixer: dict,
        norm_cfg: dict,
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.peg = None
        if use_peg and interval is not None:
            self.peg = nn.Conv2d(
                embed_dims, embed_dims, 3, padding=1, groups=embed_dims
            )
            # Kaiming initialization does not know of groups: fan_out is 9.
            self.init_cfg = dict(
                type='Normal',
                std=math.sqrt(2 / 9),
                override=dict(name='peg'),
            )
        self.blocks = ModuleList()
        for j in range(depth):
            predicts = interval is not None and (
                j == 0 or (j % interval == 0 and j < depth - 1)
            )
            self.blocks.append(
                ActiveMLPBlock(
                    embed_dims,
                    mixer=mixer,
                    mlp_ratio=mlp_ratio,
                    offset_dims=(
                        2 * embed_dims // shared_channels if predicts else 0
                    ),
                    drop_path_rate=drop_path_rates[j],
                    norm_cfg=norm_cfg,
                    with_cp=with_cp,
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens (N, H, W, C) to tokens of the same shape."""
        offset = None
        for block in self.blocks:
            if self.peg is not None and block.offset_layer is not None:
                x = x + apply(self.peg, x)
            x, offset = block(x, offset)
        return x


@MODELS.register_module()
class ActiveMLP(Pyramid):
    """ActiveMLP, the backbone of the paper.

    `ActiveMLP: An MLP-like Architecture with Active Token Mixer
    <https://arxiv.org/abs/2203.06108>`_. The output of stage i has stride
    4 * 2**i. Any input of at least 32 x 32 pixels is accepted.

    Args:
        arch (str | dict): One of 'xtiny', 'tiny', 'small', 'base' and 'large'
            (Table 1), or a dict with the keys

            - **depths** (list[int]): Number of blocks of each stage.
            - **dims** (list[int]): Number of channels of each stage.
            - **mlp_ratios** (list[float]): Hidden channels of the MLPs of each
              stage, relative to its channels.
            - **shared_channels** (list[int]): Number of neighbouring channels
              that share an offset, in each stage; it divides the channels.
              The number of channels itself makes all channels share one
              offset an axis (Table 7, row 4).
            - **interval** (int, optional): New offsets are predicted every
              ``interval`` blocks; an interval not below the depth means once
              a stage (T* of Table 7). None means that all offsets are zero:
              no offset layers and no PEG (Table 7, row 1).

            Defaults to 'tiny'.
        in_channels (int): Number of channels of the images. Defaults to 3.
        drop_path_rate (float): Stochastic depth: the probability rises
            linearly from 0 in the first block to this in the last one.
            Defaults to 0.
        out_indices (int | Sequence[int]): Which stages to return, ascending.
            The stages after the last of them are not built. Negative indices
            count from the end. Defaults to (3, ), i.e. the last stage.
        frozen_stages (int): Stages to freeze (no gradients, eval mode): -1
            means none, 0 the stem, k the stem and the first k stages.
            Defaults to -1.
        with_cp (bool): Whether to save memory in training by recomputing the
            blocks in the backward pass. Defaults to False.
        gap (bool): Whether to average the outputs over all positions, as a
            classification head expects. Defaults to False.
        use_peg (bool): Whether to have a positional encoding generator in each
            stage. Defaults to True.
        mixer (dict): Config of the token mixer, a module that is built with
            ``embed_dims`` and called with tokens (N, H, W, C) and offsets
            (N, H, W, 2G) or None and returns new tokens. Defaults to
            ``dict(type='mmactive.ActiveTokenMixer')``.
        norm_cfg (dict): Config of the normalization over channels, which come
            last. Defaults to ``dict(type='LN')``.
        init_cfg (dict | list[dict], optional): Config of the initialization.
            None means a truncated normal distribution of std 0.02 for linear
            layers and Kaiming's for convolutions. Defaults to None.

    Raises:
        ValueError: If an argument is out of its range. The error names it.
        KeyError: If ``arch`` lacks a key.

    Example:
        >>> backbone = ActiveMLP('xtiny', out_indices=(0, 1, 2, 3))
        >>> for feature in backbone(torch.rand(1, 3, 64, 96)):
        ...     print(tuple(feature.shape))
        (1, 64, 16, 24)
        (1, 128, 8, 12)
        (1, 320, 4, 6)
        (1, 512, 2, 3)
    """

    arch_settings = {
        'xtiny': dict(
            depths=[2, 2, 4, 2],
            dims=[64, 128, 320, 512],
            mlp_ratios=[4, 4, 4, 4],
            shared_channels=[2, 4, 4, 8],
            interval=2,
        ),
        'tiny': dict(
            depths=[2, 3, 10, 3],
            dims=[64, 128, 320, 512],
            mlp_ratios=[4, 4, 4, 4],
            shared_channels=[2, 4, 4, 8],
            interval=2,
        ),
        'small': dict(
            depths=[3, 4, 18, 3],
            dims=[64, 128, 320, 512],
            mlp_ratios=[8, 8, 4, 4],
            shared_channels=[2, 4, 4, 8],
            interval=6,
        ),
        'base': dict(
            depths=[3, 8, 27, 3],
            dims=[64, 128, 320, 512],
            mlp_ratios=[8, 8, 4, 4],
            shared_channels=[2, 4, 4, 8],
            interval=6,
        ),
        'large': dict(
            depths=[3, 4, 24, 3],
            dims=[96, 192, 384, 768],
            mlp_ratios=[4, 4, 4, 4],
            shared_channels=[2, 4, 4, 8],
            interval=6,
        ),
    }

    default_init_cfg = [
        *Pyramid.default_init_cfg,
        dict(type='Kaiming', layer='Conv2d'),
    ]

    def __init__(
        self,
        arch: Union[str, dict] = 'tiny',
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_indices: Union[int, Sequence[int]] = (3,),
        frozen_stages: int = -1,
        with_cp: bool = False,
        gap: bool = False,
        use_peg: bool = True,
        mixer: dict = dict(type='mmactive.ActiveTokenMixer'),
        norm_cfg: dict = dict(type='LN'),
        init_cfg: Optional[Union[dict, List[dict]]] = None,
    ) -> None:
        self.use_peg = use_peg
        super().__init__(
            arch,
            in_channels=in_channels,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            with_cp=with_cp,
            gap=gap,
            mixer=mixer,
            norm_cfg=norm_cfg,
            init_cfg=init_cfg,
        )

    def make_stage(self, i: int, drop_path_rates: List[float]) -> nn.Module:
        """Makes a stage whose blocks share offsets."""
        return ActiveMLPStage(
            self.arch['dims'][i],
            depth=self.arch['depths'][i],
            mlp_ratio=self.arch['mlp_ratios'][i],
            shared_channels=self.arch['shared_channels'][i],
            interval=self.arch['interval'],
            use_peg=self.use_peg,
            drop_path_rates=drop_path_rates,
            mixer=self.mixer,
            norm_cfg=self.norm_cfg,
            with_cp=self.with_cp,
        )

    @classmethod
    def _check_arch(cls, arch: Union[str, dict]) -> dict:
        arch = super()._check_arch(arch)
        for dim, shared in zip(arch['dims'], arch['shared_channels']):
            if shared < 1 or dim % shared:
                raise ValueError(
                    "arch['shared_channels'] must divide arch['dims'], but "
                    f'got {arch["shared_channels"]} and {arch["dims"]}'
                )
        if arch['interval'] is not None and arch['interval'] < 1:
            raise ValueError(
                "arch['interval'] must be at least 1 or None, but got "
                f'{arch["interval"]}'
            )
        return arch
