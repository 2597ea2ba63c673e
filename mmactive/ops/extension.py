# Copyright (c) mmactive contributors. All rights reserved.
"""Loads the compiled kernels (``mmactive._ext``), if they were built."""

import functools
import warnings
from pathlib import Path

import torch

_HOW_TO_BUILD = (
    'the slower PyTorch reference is used instead. Build the kernels with '
    '`pip install -v -e . --no-build-isolation` in the source folder; '
    '`python -m mmactive.utils.collect_env` tells what is wrong.'
)


@functools.cache
def load_extension() -> bool:
    """Loads ``mmactive/_ext.so``, which registers the compiled kernels.

    The library holds no Python bindings: loading it registers its operators
    with PyTorch's dispatcher, so one build serves every Python version.

    Returns:
        bool: Whether the kernels are there. If not, one warning says why.
    """
    path = Path(__file__).parent.parent / '_ext.so'
    if not path.is_file():
        warnings.warn(
            f'mmactive was installed without its extension ({path} does not '
            f'exist): {_HOW_TO_BUILD}',
            stacklevel=2,
        )
        return False
    try:
        torch.ops.load_library(path)
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f'mmactive/_ext.so does not load ({error}), most likely because '
            f'it was built for another PyTorch than {torch.__version__}: '
            f'{_HOW_TO_BUILD}',
            stacklevel=2,
        )
        return False
    return True
