# Copyright (c) mmactive contributors. All rights reserved.
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Callable, Optional


class _Finder(MetaPathFinder):
    """Finds one module as the other finders do, and adds the call to it."""

    def __init__(self, name: str, function: Callable[[], None]) -> None:
        self.name = name
        self.function = function

    def find_spec(self, name, path, target=None) -> Optional[ModuleSpec]:
        if name != self.name:
            return None
        # `importlib.util.find_spec` would find what is here already, and the
        # finders before this one have been asked.
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            if hasattr(finder, 'find_spec'):
                spec = finder.find_spec(name, path, target)
                if spec is not None and spec.loader is not None:
                    self._add_call(spec)
                if spec is not None:
                    return spec
        return None

    def _add_call(self, spec: ModuleSpec) -> None:
        exec_module = spec.loader.exec_module

        def exec_and_call(module) -> None:
            exec_module(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self.function()

        # The loader belongs to this spec alone.
        setattr(spec.loader, 'exec_module', exec_and_call)  # noqa: B010


def call_when_imported(name: str, function: Callable[[], None]) -> None:
    """Calls a function as soon as a module is there, but does not import it.

    Args:
        name (str): Full name of the module.
        function (Callable): Is called at once if the module has been imported,
            otherwise right after it is. What it raises then comes out of the
            import.
    """
    if sys.modules.get(name) is not None:
        function()
    else:
        sys.meta_path.insert(0, _Finder(name, function))
