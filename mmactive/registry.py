# Copyright (c) mmactive contributors. All rights reserved.
"""Registries of this package, children of MMEngine's.

``type='mmactive.ActiveMLP'`` finds a component from any other OpenMMLab
library once ``mmactive`` is imported.
"""

from functools import wraps
from importlib import import_module
from typing import Any, Callable, Optional

from .utils.dependencies import import_hint, is_installed
from .utils.model_index import FOLDERS

with import_hint():
    from mmengine.config.utils import MODULE2PACKAGE
    from mmengine.registry import HOOKS as MMENGINE_HOOKS
    from mmengine.registry import MODELS as MMENGINE_MODELS
    from mmengine.registry import (
        OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    )
    from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
    from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
    from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
    from mmengine.registry import DefaultScope, Registry


class ModelRegistry(Registry):
    """Registry of models that finds those of the libraries as well.

    ``mmengine.hub.get_model('mmactive::...')`` makes ``mmactive`` the scope of
    a config whose detector is mmdet's, and so are the parts of it.
    """

    def get(self, key: str) -> Optional[Callable]:
        """Returns a class by its name.

        Args:
            key (str): Name of a class, with or without a scope.

        Returns:
            Callable | None: The class, or what makes an instance of a
            library's class with that library as the scope of its parts. None
            if there is neither.
        """
        found = super().get(key)
        scope = DefaultScope.get_current_instance()
        if (
            found is not None
            or scope is None
            or scope.scope_name != self.scope
        ):
            return found
        for library in filter(is_installed, FOLDERS):
            registry = import_module(f'{library}.registry').MODELS
            found = registry.get(key)
            if found is not None:
                import_module(f'{library}.utils').register_all_modules(False)
                return _in_scope(library, found)
        return None


def _in_scope(scope: str, cls: type) -> Callable:
    @wraps(cls, updated=())
    def make(*args, **kwargs) -> Any:
        with DefaultScope.overwrite_default_scope(scope):
            return cls(*args, **kwargs)

    return make


MODELS = ModelRegistry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmactive',
    locations=['mmactive.models'],
)
OPTIM_WRAPPERS = Registry(
    'optim_wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mmactive',
    locations=['mmactive.engine'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmactive',
    locations=['mmactive.engine'],
)
HOOKS = Registry(
    'hook',
    parent=MMENGINE_HOOKS,
    scope='mmactive',
    locations=['mmactive.engine'],
)
RUNNERS = Registry(
    'runner',
    parent=MMENGINE_RUNNERS,
    scope='mmactive',
    locations=['mmactive.engine'],
)
STRATEGIES = Registry(
    'strategy',
    parent=MMENGINE_STRATEGIES,
    scope='mmactive',
    locations=['mmactive.engine.strategies'],
)

# Lets configs inherit by `_base_ = 'mmactive::coco/...'`. mmengine finds the
# folder of an editable install by the name of a module, but not by that of the
# distribution.
MODULE2PACKAGE['mmactive'] = __name__
