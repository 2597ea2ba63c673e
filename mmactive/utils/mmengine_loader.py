# Copyright (c) mmactive contributors. All rights reserved.
"""Makes mmengine load checkpoints safely, and say what does not fit.

All that is replaced in mmengine is replaced here.
"""

import functools
from types import ModuleType
from typing import Any, Callable

import torch
from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.base_loop import BaseLoop

from .checkpoint import load, load_from_local, load_url

# The file that mmengine has loaded last; its functions do not pass it on.
last_name = 'the checkpoint'

_get_rule: Callable[[], Any]


class _Torch(ModuleType):
    """PyTorch with another ``load``."""

    load = staticmethod(load)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def register(get_rule: Callable[[], ModuleType]) -> None:
    """Makes mmengine load all checkpoints by :mod:`mmactive.utils.checkpoint`.

    Whatever an address begins with, mmengine's module of checkpoints calls
    ``torch.load`` or ``load_url`` in the end. Both are replaced in that module
    and nowhere else.

    Args:
        get_rule (Callable): Returns the module that says what of a checkpoint
            has to fit, and loads it. It is called when one is loaded.
    """
    global _get_rule
    _get_rule = get_rule
    mmengine_checkpoint.torch = _Torch('torch')
    mmengine_checkpoint.load_url = load_url
    # onedl-mmengine's falls back to `weights_only=False`.
    if hasattr(mmengine_checkpoint, '_safe_torch_load'):
        mmengine_checkpoint._safe_torch_load = load
    CheckpointLoader.register_scheme('', load_from_local, force=True)

    CheckpointLoader.load_checkpoint = classmethod(
        _wrap(CheckpointLoader.load_checkpoint.__func__, _load_checkpoint)
    )
    for module, name, function in (
        (mmengine_checkpoint, 'load_state_dict', _load_state_dict),
        (mmengine_checkpoint, '_load_checkpoint_with_prefix', _load_prefix),
        (PretrainedInit, '__init__', _init_pretrained),
        (PretrainedInit, '__call__', _call_pretrained),
        (Runner, 'load_checkpoint', _load_in_runner),
    ):
        setattr(module, name, _wrap(getattr(module, name), function))


def _wrap(original: Any, function: Any) -> Any:
    """Passes a function the one that it takes the place of."""

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(original, *args, **kwargs)

    return wrapper


def _load_checkpoint(original, cls, filename, *args, **kwargs):
    global last_name
    last_name = filename
    try:
        return original(cls, filename, *args, **kwargs)
    except (ImportError, KeyError, OSError, RuntimeError) as error:
        # Downloads and lists of models do not say what was asked for.
        if str(filename) in str(error):
            raise
        raise RuntimeError(
            f'{filename} does not load: {type(error).__name__}: {error}'
        ) from error


def _load_state_dict(original, module, *args, **kwargs):
    rule = _get_rule()
    if rule.is_checked(module):
        return rule.load_state_dict(module, *args, **kwargs)
    return original(module, *args, **kwargs)


def _load_prefix(original, prefix, filename, map_location=None):
    checkpoint = mmengine_checkpoint._load_checkpoint(filename, map_location)
    return _get_rule().select(checkpoint, prefix, filename)


def _init_pretrained(
    original,
    self,
    *args,
    allow_partial=False,
    adapt_in_channels=False,
    **kwargs,
):
    original(self, *args, **kwargs)
    self.options = dict(
        allow_partial=allow_partial, adapt_in_channels=adapt_in_channels
    )


def _call_pretrained(original, self, module):
    with _get_rule().loading(starts=True, **self.options):
        return original(self, module)


def _load_in_runner(original, self, *args, **kwargs):
    is_training = isinstance(self._train_loop, BaseLoop)
    starts = is_training and not self._resume
    with _get_rule().loading_by(self.cfg, starts):
        return original(self, *args, **kwargs)
