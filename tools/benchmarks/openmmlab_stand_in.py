# Copyright (c) mmactive contributors. All rights reserved.
"""The few names of mmengine and mmcv that the backbone is made of.

A machine with a GPU for an hour seldom has OpenMMLab's packages. With these
stand-ins the models of ``mmactive`` can be timed there: the same layers, with
weights of the same distribution, but no configs and no checkpoints.
"""

import sys
from types import ModuleType
from typing import Callable, Optional, Tuple

from torch import nn


class BaseModule(nn.Module):
    """In place of ``mmengine.model.BaseModule``."""

    def __init__(self, init_cfg: Optional[dict] = None) -> None:
        super().__init__()

    def init_weights(self) -> None:
        """Initializes the linear layers; PyTorch has done the others."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class Registry:
    """In place of ``mmengine.registry.Registry``."""

    def __init__(self, *args, **kwargs) -> None:
        self.modules = {}

    def register_module(self, name: Optional[str] = None) -> Callable:
        """Returns a decorator that registers a class or a function."""

        def register(module):
            self.modules[name or module.__name__] = module
            return module

        return register

    def build(self, cfg: dict) -> nn.Module:
        """Builds a module from a config."""
        kwargs = dict(cfg)
        return self.modules[kwargs.pop('type').rpartition('.')[2]](**kwargs)


def no_registry(name: str) -> None:
    """In place of MMEngine's registries, the parents of those here."""
    if name.startswith('__'):
        raise AttributeError(name)


def build_norm_layer(cfg: dict, dims: int) -> Tuple[str, nn.Module]:
    """In place of ``mmcv.cnn.build_norm_layer``, for LN and GN."""
    if cfg['type'] == 'GN':
        return 'gn', nn.GroupNorm(cfg['num_groups'], dims)
    return 'ln', nn.LayerNorm(dims)


CONTENTS = {
    'mmengine': {},
    'mmengine.config': {},
    'mmengine.config.utils': dict(MODULE2PACKAGE={}),
    'mmengine.model': dict(
        BaseModule=BaseModule,
        ModuleList=nn.ModuleList,
        Sequential=nn.Sequential,
    ),
    'mmengine.registry': dict(Registry=Registry, __getattr__=no_registry),
    'mmcv': {},
    'mmcv.cnn': dict(
        build_norm_layer=build_norm_layer,
        build_activation_layer=lambda cfg: nn.GELU(),
    ),
    # With a probability of zero.
    'mmcv.cnn.bricks': dict(DropPath=nn.Identity),
}


def install() -> None:
    """Makes the names importable. ``mmactive`` must be imported before."""
    for name, names in CONTENTS.items():
        module = ModuleType(name)
        vars(module).update(names)
        sys.modules[name] = module
