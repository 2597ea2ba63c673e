# Copyright (c) mmactive contributors. All rights reserved.
"""ActiveMLP and its Active Token Mixer for OpenMMLab.

``mmactive.ops`` needs PyTorch alone, and ``import mmactive`` imports nothing
else. What OpenMMLab is to know of mmactive it is told as soon as mmengine is
imported, which every user of a registry, config or checkpoint has done: then
the registries (scope ``mmactive``) are there, which import the models when
they are asked for one, and mmengine loads checkpoints without running code
that they bring along. An mmcv that was installed without compiled operators
is supplied with others.
"""

import importlib
import warnings
from functools import partial

from . import mmcv_ops
from .utils import dependencies, model_index, repairs
from .utils.import_hook import call_when_imported
from .version import __version__

__all__ = ['__version__']


def __getattr__(name: str):
    """Imports ``mmactive.models`` and the like when they are first used."""
    if name in ('engine', 'models', 'registry'):
        return importlib.import_module(f'{__name__}.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def _register() -> None:
    """Runs once mmengine is there, perhaps while mmcv is being imported."""
    with dependencies.import_hint():
        from . import registry  # noqa: F401
        from .utils import mmengine_loader

        mmengine_loader.register(
            partial(
                importlib.import_module, f'{__name__}.engine.checks.checkpoint'
            )
        )
        model_index.register()


def _extend(library: str, module: str) -> None:
    """Imports what the models have for a library that has been imported."""
    needed = ('mmengine', 'mmcv')
    if not all(map(dependencies.is_installed, needed)):
        return
    try:
        importlib.import_module(f'{__name__}.models.{module}')
    except ImportError as error:
        # Whoever uses the library for something else can go on.
        warnings.warn(
            f'mmactive does not work with this version of {library}: {error}',
            stacklevel=2,
        )


if not dependencies.is_diagnosis():
    with dependencies.import_hint():
        dependencies.check_versions()

        from . import ops  # noqa: F401

    call_when_imported('mmengine', _register)
    call_when_imported('mmcv', mmcv_ops.supply)
    repairs.register()
    for _name, _module in (('timm', 'timm'), ('pytorch_grad_cam', 'grad_cam')):
        call_when_imported(_name, partial(_extend, _name, _module))
