# Copyright (c) mmactive contributors. All rights reserved.
"""Makes mmengine load checkpoints without running the code of strangers."""

from types import ModuleType
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from .checkpoint import load, load_from_local, load_url


class _Torch(ModuleType):
    """PyTorch with another ``load``."""

    load = staticmethod(load)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def register() -> None:
    """Makes mmengine load all checkpoints by :mod:`mmactive.utils.checkpoint`.

    Whatever an address begins with, mmengine's module of checkpoints calls
    ``torch.load`` or ``load_url`` in the end. Both are replaced in that module
    and nowhere else.
    """
    mmengine_checkpoint.torch = _Torch('torch')
    mmengine_checkpoint.load_url = load_url
    # onedl-mmengine's falls back to `weights_only=False`.
    if hasattr(mmengine_checkpoint, '_safe_torch_load'):
        mmengine_checkpoint._safe_torch_load = load
    CheckpointLoader.register_scheme('', load_from_local, force=True)
