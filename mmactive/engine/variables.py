# Copyright (c) mmactive contributors. All rights reserved.
"""Variables of config files, set from outside.

A config file is a script. When it has been run, its variables, ``max_epochs``
or ``train_pipeline``, have done their work, and to set them changes nothing
any more. Here the files are run again, with the variables set as soon as they
are assigned: so the new values go wherever the old ones went.
"""

import ast
from contextlib import ExitStack
from copy import deepcopy
from typing import Any, Dict, List, Optional
from unittest.mock import patch

from mmengine.config import Config

# The variables that are set while config files run
_active: Optional['_Variables'] = None


def load_with(filename: str, options: dict) -> Config:
    """Loads a config with variables of other values.

    Args:
        filename (str): The config file, in either of mmengine's styles.
        options (dict): Values by the names of variables, which are set in all
            files that assign them, base files included; or by dotted keys as
            in 'train_pipeline.2.scale', which are set where the variable gets
            the value that it has in the end.

    Returns:
        Config: The config.
    """
    global _active
    records: Dict[str, List[Any]] = {}
    # Only dotted keys ask what a variable has in the end.
    is_nested = any('.' in key for key in options)
    for records_only in (True, False) if is_nested else (False,):
        _active = _Variables(options, records, records_only)
        try:
            with ExitStack() as stack:
                for name, function in (
                    ('_pre_substitute_base_vars', _set_in_text),
                    ('_get_base_modules', _set_in_nodes),
                ):
                    function = function(getattr(Config, name))
                    stack.enter_context(
                        patch.object(Config, name, staticmethod(function))
                    )
                cfg = Config.fromfile(filename)
        finally:
            _active = None
    return cfg


def set_variable(name: str, value: Any) -> Any:
    """Returns the value of a variable that a config file has just assigned."""
    return _active.set(name, value)


class _Variables:
    """Sets variables, and records what they are assigned before."""

    def __init__(
        self, options: dict, records: Dict[str, List[Any]], records_only: bool
    ) -> None:
        self.options = options
        self.names = {key.partition('.')[0] for key in options}
        self.records = records
        self.records_only = records_only
        self.counts = dict.fromkeys(self.names, 0)

    def set(self, name: str, value: Any) -> Any:
        records = self.records.setdefault(name, [])
        if self.records_only:
            records.append(deepcopy(value))
            return value
        place, self.counts[name] = self.counts[name], self.counts[name] + 1
        for key, new in self.options.items():
            if key == name:
                value = adapt_path(new, value)
            elif key.startswith(f'{name}.') and records[place] == records[-1]:
                cfg = Config({name: value})
                cfg.merge_from_dict({key: new})
                value = cfg[name]
        return value


def adapt_path(new: Any, old: Any) -> Any:
    """Ends a string with a slash if, and only if, the old one does.

    What config files append to a folder counts on it.
    """
    if not (isinstance(new, str) and isinstance(old, str) and new and old):
        return new
    return new.rstrip('/') + '/' * old.endswith('/') or new


class _SetAfterAssignment(ast.NodeTransformer):
    """Adds to each assignment of a variable that it is set."""

    def __init__(self, names: set) -> None:
        self.names = names

    def visit_FunctionDef(self, node: ast.AST) -> ast.AST:
        return node  # Its variables are its own.

    visit_Lambda = visit_ClassDef = visit_FunctionDef  # noqa: N815

    def _visit_assignment(self, node: ast.stmt) -> List[ast.AST]:
        target = getattr(node, 'target', None)
        targets = getattr(node, 'targets', None) or [target]
        names = [
            name.id
            for target in targets
            for name in ast.walk(target)
            if isinstance(name, ast.Name)
            and isinstance(name.ctx, ast.Store)
            and name.id in self.names
        ]
        # Python files of the newer style cannot import while they are parsed.
        module = f'__import__({__name__!r}, fromlist=[""])'
        text = '\n'.join(
            f'{name} = {module}.set_variable({name!r}, {name})'
            for name in names
        )
        return [node, *ast.parse(text).body]

    visit_Assign = visit_AnnAssign = visit_AugAssign = _visit_assignment  # noqa: N815


def _set_in_text(pre_substitute: Any) -> Any:
    """Changes config files that inherit by ``_base_``."""

    def run(filename: str, temp_config_name: str) -> dict:
        result = pre_substitute(filename, temp_config_name)
        if temp_config_name.endswith('.py'):
            with open(temp_config_name, encoding='utf-8') as file:
                tree = ast.parse(file.read())
            tree = _SetAfterAssignment(_active.names).visit(tree)
            with open(temp_config_name, 'w', encoding='utf-8') as file:
                file.write(ast.unparse(ast.fix_missing_locations(tree)))
        return result

    return run


def _set_in_nodes(get_base_modules: Any) -> Any:
    """Changes config files that inherit by ``read_base``."""

    def run(nodes: List[ast.stmt]) -> list:
        tree = ast.Module(body=list(nodes), type_ignores=[])
        nodes[:] = _SetAfterAssignment(_active.names).visit(tree).body
        return get_base_modules(nodes)

    return run
