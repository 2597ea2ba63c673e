# Copyright (c) mmactive contributors. All rights reserved.
"""What the backbones share: a pyramid of stages, and a block of two MLPs."""

from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Type, Union

import torch.utils.checkpoint as cp
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule, ModuleList, Sequential
from torch import Tensor, nn

from mmactive.registry import MODELS

from ..layers import MLP, LayerNorm2d, apply


class MixerBlock(BaseModule):
    """Token mixing, then channel mixing, each normalized and added.

    Args:
        embed_dims (int): Number of channels C.
        mixer (dict): Config of the token mixer; it is built with
            ``embed_dims`` and called with tokens (N, H, W, C) and offsets,
            which may be None and which it may ignore.
        mlp_ratio (float): Hidden channels of the MLP, relative to
            ``embed_dims``.
        drop_path_rate (float): Probability of stochastic depth.
        norm_cfg (dict): Config of the normalization.
        with_cp (bool): Whether to recompute the block in the backward pass
            instead of keeping its activations.
    """

    def __init__(
        self,
        embed_dims: int,
        mixer: dict,
        mlp_ratio: float,
        drop_path_rate: float,
        norm_cfg: dict,
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.norm1 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.mixer = MODELS.build(dict(mixer, embed_dims=embed_dims))
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.ffn = MLP(embed_dims, int(embed_dims * mlp_ratio), with_cp=True)
        self.drop_path = DropPath(drop_path_rate)

    def mix(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Maps tokens (N, H, W, C) to new ones."""
        mixed = self.mixer(apply(self.norm1, x), offset)
        x = x + self.drop_path(mixed)
        return x + self.drop_path(self.ffn(apply(self.norm2, x)))

    def forward(self, x: Tensor) -> Tensor:
        """Does what :meth:`mix` does, twice if memory is to be saved."""
        if self.with_cp and x.requires_grad:
            return cp.checkpoint(self.mix, x, use_reentrant=False)
        return self.mix(x)


class Pyramid(BaseModule):
    """Base of the backbones: stages of blocks, each behind a downsampling.

    A family sets :attr:`arch_settings` and a mixer, and overrides those of
    :meth:`make_stem`, :meth:`make_downsampling`, :meth:`make_block` and
    :meth:`make_stage` that differ. Between the images and the outputs
    everything works on tokens (N, H, W, C).

    Args:
        arch (str | dict): One of :attr:`arch_settings`, or a dict with the
            same keys: those that hold lists have one value for each stage.
            Two are common to all families:

            - **depths** (list[int]): Number of blocks of each stage.
            - **dims** (list[int]): Number of channels of each stage.
        in_channels (int): Number of channels of the images. Defaults to 3.
        drop_path_rate (float): Stochastic depth: the probability rises
            linearly from 0 in the first block to this in the last one.
            Defaults to 0.
        out_indices (int | Sequence[int]): Which stages to return, ascending.
            The stages after the last of them are not built. Negative indices
            count from the end. Defaults to -1, i.e. the last stage.
        frozen_stages (int): Stages to freeze (no gradients, eval mode): -1
            means none, 0 the stem, k the stem and the first k stages.
            Defaults to -1.
        with_cp (bool): Whether to save memory in training by recomputing the
            blocks in the backward pass. Defaults to False.
        gap (bool): Whether to average the outputs over all positions, as a
            classification head expects. Defaults to False.
        mixer (dict, optional): Config of the token mixer, a module that is
            built with ``embed_dims`` and called with tokens (N, H, W, C) and
            offsets, (N, H, W, 2G) or None, and returns new tokens. Most
            mixers ignore the offsets, that only ActiveMLP predicts. Each
            family has its own by default.
        norm_cfg (dict, optional): Config of the normalization of the blocks
            and of every output. Its module normalizes tokens or images, see
            :func:`~mmactive.models.layers.apply`. Defaults to
            ``dict(type='LN')``.
        init_cfg (dict | list[dict], optional): Config of the initialization.
            None means :attr:`default_init_cfg`. Defaults to None.

    Raises:
        ValueError: If an argument is out of its range. The error names it.
        KeyError: If ``arch`` lacks a key or has one too many.
    """

    arch_settings: Dict[str, dict] = {}
    """Architectures by name."""

    block_type: Type[BaseModule] = MixerBlock
    """Class of the blocks."""

    default_init_cfg: List[dict] = [
        dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0)
    ]
    """Initialization of a network that is trained from scratch."""

    num_stages: Optional[int] = None
    """How many stages there must be; None means that any number will do."""

    image_size: Optional[int] = None
    """Height and width that images must have; None means that any will do."""

    min_size: int = 1
    """Height and width that images must have at least."""

    def __init__(
        self,
        arch: Union[str, dict],
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_indices: Union[int, Sequence[int]] = -1,
        frozen_stages: int = -1,
        with_cp: bool = False,
        gap: bool = False,
        mixer: Optional[dict] = None,
        norm_cfg: Optional[dict] = dict(type='LN'),
        init_cfg: Optional[Union[dict, List[dict]]] = None,
    ) -> None:
        # A config that inherits a checkpoint trains from scratch with None.
        super().__init__(
            self.default_init_cfg if init_cfg is None else init_cfg
        )
        self.arch = self._check_arch(arch)
        depths, dims = self.arch['depths'], self.arch['dims']
        num_stages = len(depths)
        if not 0 <= drop_path_rate < 1:
            raise ValueError(
                f'drop_path_rate must be in [0, 1), but got {drop_path_rate}'
            )
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(
                f'frozen_stages must be in [-1, {num_stages}], but got '
                f'{frozen_stages}'
            )
        self.out_indices = self._check_out_indices(out_indices, num_stages)
        self.frozen_stages = frozen_stages
        self.gap = gap
        self.mixer = mixer
        self.norm_cfg = norm_cfg
        self.with_cp = with_cp

        total = sum(depths)
        rates = [drop_path_rate * i / max(total - 1, 1) for i in range(total)]
        self.downsample_layers = ModuleList()  # the first one is the stem
        self.stages = ModuleList()
        for i in range(self.out_indices[-1] + 1):
            self.downsample_layers.append(
                self.make_stem(in_channels, dims[0])
                if i == 0
                else self.make_downsampling(dims[i - 1], dims[i])
            )
            self.stages.append(self.make_stage(i, rates[: depths[i]]))
            rates = rates[depths[i] :]
            if i in self.out_indices:
                self.add_module(f'norm{i}', self.make_output_norm(dims[i]))
        self._freeze_stages()

    def make_stem(self, in_channels: int, embed_dims: int) -> nn.Module:
        """Makes what turns pixels (N, H, W, in_channels) into tokens."""
        return nn.Conv2d(in_channels, embed_dims, 7, stride=4, padding=2)

    def make_downsampling(self, in_dims: int, out_dims: int) -> nn.Module:
        """Makes what leads from the tokens of one stage to the next."""
        return nn.Conv2d(in_dims, out_dims, 3, stride=2, padding=1)

    def make_stage(self, i: int, drop_path_rates: List[float]) -> nn.Module:
        """Makes stage ``i``, which maps tokens to tokens of its shape."""
        return Sequential(
            *(self.make_block(i, rate) for rate in drop_path_rates)
        )

    def make_block(self, i: int, drop_path_rate: float) -> nn.Module:
        """Makes a block of stage ``i``."""
        return self.block_type(
            self.arch['dims'][i],
            mixer=self.make_mixer_cfg(i),
            mlp_ratio=self.arch['mlp_ratios'][i],
            drop_path_rate=drop_path_rate,
            norm_cfg=self.norm_cfg,
            with_cp=self.with_cp,
        )

    def make_mixer_cfg(self, i: int) -> dict:
        """Makes the config of the mixers of stage ``i``."""
        return self.mixer

    def make_output_norm(self, embed_dims: int) -> nn.Module:
        """Makes the norm of an output; ``nn.Identity()`` stands for none.

        It gets and returns images (N, C, H, W), unless ``norm_cfg`` names a
        norm of tokens that is not PyTorch's.
        """
        norm_cfg = self.norm_cfg
        if norm_cfg is not None and norm_cfg['type'] in ('LN', nn.LayerNorm):
            norm_cfg = dict(norm_cfg, type=LayerNorm2d)
        return build_norm_layer(norm_cfg, embed_dims)[1]

    @classmethod
    def _check_arch(cls, arch: Union[str, dict]) -> dict:
        """Looks an architecture up, or checks one that is given as a dict."""
        if isinstance(arch, str):
            if arch not in cls.arch_settings:
                raise ValueError(
                    f'arch must be one of {list(cls.arch_settings)} or a '
                    f'dict, but got {arch!r}'
                )
            return cls.arch_settings[arch]
        example = next(iter(cls.arch_settings.values()))
        if set(arch) != set(example):
            raise KeyError(
                f'arch must be a dict with the keys {list(example)}, but got '
                f'{list(arch)}'
            )
        lists = [key for key, x in example.items() if isinstance(x, list)]
        bad = [key for key in lists if not isinstance(arch[key], Sequence)]
        if bad:
            raise ValueError(
                f'arch[{bad[0]!r}] must be a list of one value for each '
                f'stage, but got {arch[bad[0]]!r}'
            )
        lengths = {key: len(arch[key]) for key in lists}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(
                'arch must have one value for each stage in every list, but '
                f'got lists of lengths {lengths}'
            )
        num_stages = len(arch['depths'])
        if cls.num_stages not in (None, num_stages):
            raise ValueError(
                f'arch must have {cls.num_stages} stage(s), but got '
                f'{num_stages}'
            )
        for key in ('depths', 'dims'):
            if any(value < 1 for value in arch[key]):
                raise ValueError(
                    f'arch[{key!r}] must be at least 1, but got {arch[key]}'
                )
        return arch

    @staticmethod
    def _check_out_indices(
        out_indices: Union[int, Sequence[int]], num_stages: int
    ) -> Tuple[int, ...]:
        """Makes the indices a tuple of ascending, non-negative numbers."""
        given = out_indices
        if isinstance(out_indices, int):
            out_indices = (out_indices,)
        out_indices = tuple(
            i + num_stages if i < 0 else i for i in out_indices
        )
        if (
            not out_indices
            or list(out_indices) != sorted(set(out_indices))
            or not 0 <= out_indices[0] <= out_indices[-1] < num_stages
        ):
            raise ValueError(
                f'out_indices must be ascending indices of the {num_stages} '
                f'stages, but got {given}'
            )
        return out_indices

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Extracts features.

        Args:
            x (Tensor): Images of shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: For every stage in ``out_indices`` the normalized
            features of shape (N, C_i, H_i, W_i), or (N, C_i) if ``gap``.
        """
        self._check_image_size(*x.shape[2:])
        outputs = []
        for i, tokens in enumerate(self.iter_stages(x)):
            if i in self.out_indices:
                norm = getattr(self, f'norm{i}')
                outputs.append(self.make_output(apply(norm, tokens)))
        return tuple(outputs)

    def _check_image_size(self, height: int, width: int) -> None:
        size, least = self.image_size, self.min_size
        if size is not None and not height == width == size:
            raise ValueError(
                f'{type(self).__name__} takes images of {size} x {size} '
                f'pixels only, but got {height} x {width}'
            )
        if min(height, width) < least:
            raise ValueError(
                f'{type(self).__name__} takes images of at least {least} x '
                f'{least} pixels, but got {height} x {width}'
            )

    def make_output(self, x: Tensor) -> Tensor:
        """Makes an output of normalized tokens."""
        if self.gap:
            return x.mean(dim=(1, 2))
        # Kernels of mmcv take memory to be laid out as (N, C, H, W) without
        # asking for strides.
        return x.permute(0, 3, 1, 2).contiguous()

    def iter_stages(self, x: Tensor) -> Iterator[Tensor]:
        """Yields what each stage makes of images, not normalized.

        Args:
            x (Tensor): Images of shape (N, in_channels, H, W).

        Yields:
            Tensor: Tokens of shape (N, H_i, W_i, C_i).
        """
        # From here on tokens are (N, H, W, C).
        x = x.permute(0, 2, 3, 1)
        for downsample, stage in zip(self.downsample_layers, self.stages):
            # Also in memory, or every norm would copy them. Only the stem's
            # output is copied here: a convolution keeps its input's layout.
            x = stage(apply(downsample, x).contiguous())
            yield x

    def get_layer_depth(
        self, param_name: str, prefix: str = ''
    ) -> Tuple[int, int]:
        """Numbers the layers from the image on, for learning rate decay.

        The stem is layer 0, and every block is a layer, together with what
        its stage has before it. The norms of the outputs belong to what
        follows the backbone.

        Args:
            param_name (str): Name of a parameter of the model.
            prefix (str): What those of the backbone begin with. Defaults to
                an empty string.

        Returns:
            tuple[int, int]: The number of the parameter's layer, and the
            number of layers.
        """
        num_layers = sum(self.arch['depths']) + 2
        kind, *rest = param_name[len(prefix) :].split('.')
        is_layer = kind in ('downsample_layers', 'stages')
        if not param_name.startswith(prefix) or not is_layer:
            return num_layers - 1, num_layers
        stage, block = int(rest[0]), 0
        if kind == 'downsample_layers' and stage == 0:
            return 0, num_layers
        if kind == 'stages':
            # ActiveMLP's stages hold more than blocks.
            rest = rest[2:] if rest[1] == 'blocks' else rest[1:]
            block = int(rest[0]) if rest[0].isdigit() else 0
        return 1 + sum(self.arch['depths'][:stage]) + block, num_layers

    def switch_to_deploy(self) -> None:
        """Lets the token mixers fold layers for faster inference.

        See :meth:`mmactive.models.ActiveTokenMixer.switch_to_deploy`. A mixer
        without such a method stays as it is.
        """
        for module in self.modules():
            if module is not self and hasattr(module, 'switch_to_deploy'):
                module.switch_to_deploy()

    def _freeze_stages(self) -> None:
        frozen = []
        if self.frozen_stages >= 0:
            frozen.append(self.downsample_layers[0])
        for i in range(min(self.frozen_stages, len(self.stages))):
            frozen += [self.downsample_layers[i], self.stages[i]]
            if i in self.out_indices:
                frozen.append(getattr(self, f'norm{i}'))
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'Pyramid':
        """Sets the mode, but keeps frozen stages in eval mode."""
        super().train(mode)
        self._freeze_stages()
        return self
