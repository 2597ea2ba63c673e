# Copyright (c) mmactive contributors. All rights reserved.
"""Imports point one way: tools -> engine -> models -> ops, utils below all."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the lowest on; those of one number do not import each other.
LAYERS = dict(
    version=0, utils=1, registry=2, ops=2, mmcv_ops=2, models=3, engine=4
)
# What ties the package together for the libraries.
TIES = {
    'mmactive/__init__.py',
    # MMEngine's hub calls a function of this place.
    'mmactive/utils/__init__.py',
    # Lists what is installed, the package's own version included.
    'mmactive/utils/collect_env.py',
}


def iter_imports(path):
    """Yields the full names of all modules that a file imports."""
    package = path.relative_to(ROOT).with_suffix('').parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level]
            base = '.'.join(base) if node.level else ''
            module = '.'.join(filter(None, (base, node.module)))
            # What is imported may itself be a module.
            yield from (f'{module}.{alias.name}' for alias in node.names)


def get_layer(name):
    """Returns the layer of a module of the package."""
    return name.split('.')[1]


FILES = [
    path.relative_to(ROOT).as_posix()
    for path in sorted((ROOT / 'mmactive').rglob('*.py'))
]


@pytest.mark.parametrize('name', FILES)
def test_imports_of_the_package(name):
    path = ROOT / name
    imports = [x for x in iter_imports(path) if x.startswith('mmactive')]
    if name in TIES or name == 'mmactive/__main__.py':
        return
    own = name.removesuffix('.py').split('/')[1]
    for other in imports:
        assert other != 'mmactive', f'{name} imports the whole package'
        layer = get_layer(other)
        is_below = layer == own or LAYERS[layer] < LAYERS[own]
        assert is_below, f'{name} imports {other}'
    if own == 'ops':
        libraries = {x.split('.')[0] for x in iter_imports(path)}
        assert not libraries & {'mmcv', 'mmengine', 'torchvision', 'numpy'}


def test_nothing_imports_tools():
    for path in (ROOT / 'mmactive').rglob('*.py'):
        assert not any(x.startswith('tools') for x in iter_imports(path))


def test_every_module_has_a_name_of_its_own():
    """One name a room, within a layer; a family has one in each part."""
    for layer in LAYERS:
        seen = {}
        for path in (ROOT / 'mmactive' / layer).rglob('*.py'):
            if path.name == '__init__.py' or 'conversion' in path.parts:
                continue
            other = seen.setdefault(path.name, path)
            assert other == path, f'{path} is called as {other}'
