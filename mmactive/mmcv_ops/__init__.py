# Copyright (c) mmactive contributors. All rights reserved.
"""Operators for an mmcv that was installed without compiled ones.

``mmcv.ops`` calls its kernels through the module ``mmcv._ext``, which
``mmcv-lite`` and builds without operators lack. Where it is missing,
:func:`supply` lets :mod:`.extension` be found in its place, which runs on
torchvision and PyTorch.
"""

import importlib.util
import sys
import warnings
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import List, Optional

from ..utils.dependencies import HINT

__all__ = ['supply']

EXTENSION = 'mmcv._ext'
# The packages that import mmcv.ops.
USERS = ('mmdet', 'mmseg', 'mmpretrain')


class Finder(MetaPathFinder):
    """Finds the operators here when no other finder has found compiled ones.

    So they are imported, and torchvision with them, by those who use mmcv.ops.
    """

    def find_spec(self, name, path, target=None) -> Optional[ModuleSpec]:
        if name == EXTENSION:
            file = Path(__file__).with_name('extension.py')
            return importlib.util.spec_from_file_location(name, file)
        return None


def supply() -> None:
    """Provides ``mmcv._ext`` if mmcv has none; leaves a compiled one alone.

    Call it when mmcv has been imported. Warns if mmdet and mmseg will not
    work: because the compiled extension does not load, or because they tried
    to import operators that were not there yet.
    """
    if importlib.util.find_spec(EXTENSION) is None:
        sys.meta_path.append(Finder())
        failed = ' and '.join(find_failed_imports())
        if failed:
            warnings.warn(
                f'{failed} failed to import before mmactive, which supplies '
                'operators that mmcv lacks, and cannot be imported again in '
                'this Python process. In a new one, import mmactive first. '
                f'{HINT}',
                stacklevel=2,
            )
        return
    try:
        importlib.import_module(EXTENSION)
    except ImportError as error:
        warnings.warn(
            f'{EXTENSION} does not load ({error}), so that mmdet and mmseg '
            f'will not work. {HINT}',
            stacklevel=2,
        )


def find_failed_imports() -> List[str]:
    """Lists the users of mmcv.ops whose import has failed in this process.

    Their submodules that did import stay behind, without the package that
    they are part of.
    """
    return sorted(
        {
            name.partition('.')[0]
            for name in sys.modules
            if name.partition('.')[0] in USERS
            and '.' in name
            and name.rpartition('.')[0] not in sys.modules
        }
    )
