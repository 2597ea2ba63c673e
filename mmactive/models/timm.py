# Copyright (c) mmactive contributors. All rights reserved.
"""The backbones by timm's interface, under names like ``activemlp_tiny``.

This is imported as soon as timm is.
"""

from contextlib import contextmanager
from itertools import islice
from typing import Any, Callable, Iterator, List, Optional, Tuple, Type, Union

import torch
from mmengine.logging import MMLogger
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import ClassifierHead
from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
)
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from . import backbones
from .backbones.pyramid import Pyramid
from .layers import apply

# Their vector of an image is a token, not the mean over positions.
WITH_CLASS_TOKEN = (backbones.CPVT, backbones.EAMLP)


class TimmClassifier(nn.Module):
    """A classifier with timm's interface.

    Its weights have the names of those that ``tools/train.py`` saves, so that
    ``timm.create_model(..., checkpoint_path=...)`` loads them.

    Args:
        family (type): Class of the backbone, a :class:`Pyramid`.
        arch (str): Name of the architecture.
        num_classes (int): Number of classes, 0 for none. Defaults to 1000.
        in_chans (int): Number of channels of the images. Defaults to 3.
        global_pool (str): How the positions are pooled. Defaults to 'avg'.
        drop_rate (float): Dropout before the classifier. Defaults to 0.
        drop_path_rate (float): Stochastic depth. Defaults to 0.
        kwargs (dict): Other arguments of the backbone.
    """

    def __init__(
        self,
        family: type,
        arch: str,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__()
        self.has_class_token = family in WITH_CLASS_TOKEN
        self.backbone = family(
            arch,
            in_channels=in_chans,
            drop_path_rate=drop_path_rate,
            gap=True,
            **kwargs,
        )
        # GFNet is built with a norm for vectors alone.
        self.backbone.gap = self.has_class_token
        with _quiet():
            self.backbone.init_weights()
        dims = self.backbone.arch['dims']
        self.num_features = self.head_hidden_size = dims[-1]
        self.feature_info = [
            dict(num_chs=dim, reduction=stride, module=f'backbone.stages.{i}')
            for i, (dim, stride) in enumerate(
                zip(dims, find_strides(family, arch))
            )
        ]
        self.num_classes = num_classes
        self.head = ClassifierHead(
            dims[-1],
            num_classes,
            '' if self.has_class_token else global_pool,
            drop_rate,
        )

    def get_classifier(self) -> nn.Module:
        """Returns the last layer."""
        return self.head.fc

    def reset_classifier(
        self, num_classes: int, global_pool: Optional[str] = None, **kwargs
    ) -> None:
        """Makes a new last layer, or none for 0 classes."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)

    def group_matcher(self, coarse: bool = False) -> dict:
        """Returns what timm's decay of learning rates by layer asks for."""
        if coarse:
            blocks: Any = r'^backbone\.(?:stages|downsample_layers)\.(\d+)'
        else:
            blocks = [
                (r'^backbone\.downsample_layers\.([1-9])', (0,)),
                (r'^backbone\.stages\.(\d+)\.(?:blocks\.)?(\d+)', None),
                (r'^backbone\.norm', (99999,)),
            ]
        return dict(stem=r'^backbone\.downsample_layers\.0', blocks=blocks)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Sets whether blocks are computed again in the backward pass."""
        for module in self.backbone.stages.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = enable

    def forward_intermediates(
        self,
        x: Tensor,
        indices: Optional[Union[int, List[int]]] = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> Union[List[Tensor], Tuple[Tensor, List[Tensor]]]:
        """Computes what the stages make of images.

        Args:
            x (Tensor): Images of shape (N, in_chans, H, W).
            indices (int | list[int], optional): The last so many stages, or
                the indices of stages. Defaults to None, i.e. all.
            norm (bool): Whether the last stage's output is normalized.
                Defaults to False.
            stop_early (bool): Whether to leave out the stages after the last
                one that is asked for. Defaults to False.
            output_fmt (str): Shapes of the results, 'NCHW' or 'NHWC'. Defaults
                to 'NCHW'.
            intermediates_only (bool): Whether to leave out the final features.
                Defaults to False.

        Returns:
            list[Tensor] | tuple: Features of the stages; behind the final
            ones (N, C, H, W) unless ``intermediates_only``.

        Raises:
            ValueError: If there is no such ``output_fmt``.
        """
        if output_fmt not in ('NCHW', 'NHWC'):
            raise ValueError(
                f"output_fmt must be 'NCHW' or 'NHWC', but got {output_fmt!r}"
            )
        chosen, last = feature_take_indices(len(self.feature_info), indices)
        if len(self.feature_info) == 1:
            # A network of one stage has nothing but its output.
            features = list(self.backbone(x))
            final = features[0]
        else:
            stops = intermediates_only or stop_early
            stages = self.backbone.iter_stages(x)
            tokens = list(islice(stages, last + 1 if stops else None))
            features = [self.backbone.make_output(part) for part in tokens]
            final = features[-1]
            if len(features) == len(self.feature_info):
                final = self._normalize(tokens[-1])
                features[-1] = final if norm else features[-1]
        features = [features[i] for i in chosen]
        if output_fmt == 'NHWC':
            features = [feature.permute(0, 2, 3, 1) for feature in features]
        return features if intermediates_only else (final, features)

    def _normalize(self, tokens: Tensor) -> Tensor:
        norm = getattr(self.backbone, f'norm{len(self.feature_info) - 1}')
        return self.backbone.make_output(apply(norm, tokens))

    def prune_intermediate_layers(
        self,
        indices: Union[int, List[int]] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> List[int]:
        """Removes what features do not need.

        Args:
            indices (int | list[int]): As in :meth:`forward_intermediates`.
            prune_norm (bool): Whether to remove the norm. Defaults to False.
            prune_head (bool): Whether to remove the classifier. Defaults to
                True.

        Returns:
            list[int]: The indices of the stages.
        """
        depth = len(self.feature_info)
        chosen, last = feature_take_indices(depth, indices)
        if depth > 1:
            del self.backbone.stages[last + 1 :]
            del self.backbone.downsample_layers[last + 1 :]
            if prune_norm or last < depth - 1:
                setattr(self.backbone, f'norm{depth - 1}', nn.Identity())
        if prune_head or last < depth - 1:
            self.reset_classifier(0, '')
            self.backbone.gap = False
        return chosen

    def forward_features(self, x: Tensor) -> Tensor:
        """Maps images to the final features.

        Args:
            x (Tensor): Images of shape (N, in_chans, H, W).

        Returns:
            Tensor: Features of shape (N, C, H, W), or the class token (N, C)
            of a network that has one.
        """
        return self.backbone(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps final features to logits, or to what is before them."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (N, in_chans, H, W) to logits (N, num_classes)."""
        return self.forward_head(self.forward_features(x))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps mmengine from logging every parameter that it initializes."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        yield
    finally:
        logger.setLevel(level)


def find_strides(family: Type[Pyramid], arch: str) -> List[int]:
    """Returns by how much each stage's map is smaller than the image."""
    settings = family.arch_settings[arch]
    num_stages = len(settings['depths'])
    if num_stages == 1:
        return [16]
    with torch.device('meta'):
        model = family(dict(settings, depths=[1] * num_stages))
        tokens = model.iter_stages(torch.empty(1, 3, 224, 224))
    return [224 // part.size(1) for part in tokens]


def _make_entrypoint(name: str, family: Type[Pyramid], arch: str) -> Callable:
    """Makes what ``timm.create_model`` calls by the name of a model."""

    def entrypoint(pretrained: bool = False, **kwargs) -> nn.Module:
        num_stages = len(family.arch_settings[arch]['depths'])
        return build_model_with_cfg(
            TimmClassifier,
            name,
            pretrained,
            feature_cfg=dict(
                out_indices=tuple(range(num_stages)), feature_cls='getter'
            ),
            family=family,
            arch=arch,
            **kwargs,
        )

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__module__ = __name__
    entrypoint.__doc__ = (
        f"{family.__name__} with ``arch='{arch}'``, for images of ImageNet."
    )
    return entrypoint


def _describe(family: type, arch: str) -> dict:
    """Returns timm's description of a model without published weights."""
    return dict(
        url='',
        num_classes=1000,
        input_size=(3, 224, 224),
        crop_pct=0.875,
        interpolation='bicubic',
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        classifier='head.fc',
        first_conv=_find_first_conv(family, arch),
    )


def _find_first_conv(family: type, arch: str) -> Optional[str]:
    """Names the layer that timm adapts to ``in_chans``, if it is one."""
    stem = 'backbone.downsample_layers.0'
    if family is backbones.EAMLP:
        return None
    if family is backbones.MorphMLP:
        return f'{stem}.0.proj'
    plain = family in (backbones.ActiveMLP, backbones.ViP)
    if family is backbones.CycleMLP:
        plain = not family.arch_settings[arch]['swin']
    return stem if plain else f'{stem}.proj'


__all__ = ['TimmClassifier']
_MODELS = {
    f'{family.__name__.lower()}_{arch.replace("-", "_")}': (family, arch)
    for family in map(backbones.__dict__.get, backbones.__all__)
    if isinstance(family, type) and issubclass(family, Pyramid)
    for arch in family.arch_settings
}
default_cfgs = generate_default_cfgs(
    {name: _describe(*model) for name, model in _MODELS.items()}
)
for _name, _model in _MODELS.items():
    globals()[_name] = register_model(_make_entrypoint(_name, *_model))
