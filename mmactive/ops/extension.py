# Copyright (c) mmactive contributors. All rights reserved.
"""Loads the compiled kernels (``mmactive._ext``), if they are there."""

import functools
import warnings
from pathlib import Path

import torch
from torch.torch_version import TorchVersion

from ..utils.dependencies import TORCH_WITH_KERNELS

_HOW_TO_BUILD = (
    'Build the kernels with `pip install -v -e . --no-build-isolation` in the '
    'source folder; `python -m mmactive.utils.collect_env` tells what is '
    'wrong.'
)


@functools.cache
def load_extension() -> bool:
    """Loads ``mmactive/_ext.so``, which registers the compiled kernels.

    The library holds no Python bindings and calls PyTorch by its stable ABI
    alone: loading it registers its operators with PyTorch's dispatcher, and
    one build serves every Python and every PyTorch from 2.10 on.

    Returns:
        bool: Whether the kernels are there. If not, one warning says why.
    """
    path = Path(__file__).parent.parent / '_ext.so'
    if TorchVersion(torch.__version__) < TORCH_WITH_KERNELS:
        reason = (
            f"mmactive's kernels need torch>={TORCH_WITH_KERNELS}, but torch "
            f'{torch.__version__} is installed'
        )
        advice = 'Install a newer PyTorch for the kernels.'
    elif not path.is_file():
        reason = (
            f'mmactive was installed without its extension ({path} does not '
            'exist)'
        )
        advice = _HOW_TO_BUILD
    else:
        try:
            torch.ops.load_library(path)
            return True
        except (OSError, RuntimeError) as error:
            reason = f'mmactive/_ext.so does not load ({error})'
            advice = _HOW_TO_BUILD
    warnings.warn(
        f'{reason}: the slower PyTorch reference is used instead. {advice}',
        stacklevel=2,
    )
    return False
