# Copyright (c) mmactive contributors. All rights reserved.
"""Configs inherited as those of an installed package are.

mmengine builds what such a config defines in the scope ``mmactive``, which
knows ActiveMLP and nothing of the libraries.
"""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models import ImageClassifier

import mmactive  # noqa: F401

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = [
    str(path.relative_to(CONFIGS))
    for task in ('imagenet', 'coco', 'ade20k')
    for path in sorted((CONFIGS / task).rglob('*.py'))
    if task == 'imagenet' or 'tiny' in path.name
]


def inherit(name, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = 'mmactive::{name}'\n")
    return Config.fromfile(path)


def list_types(value, scope=None):
    """Yields the scope and the type of everything to be built."""
    if isinstance(value, dict):
        scope = value.get('_scope_', scope)
        if 'type' in value:
            yield scope, value['type']
        for child in value.values():
            yield from list_types(child, scope)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from list_types(child, scope)


@pytest.mark.parametrize('name', NAMES)
def test_scopes(name, tmp_path):
    cfg = inherit(name, tmp_path)
    ours = {
        kind for scope, kind in list_types(dict(cfg)) if scope == 'mmactive'
    }
    # With the way to initialize it.
    assert ours <= {'mmactive.ActiveMLP', 'Pretrained'}


def test_classifier_builds(tmp_path):
    cfg = inherit('imagenet/activemlp-xtiny_8xb128_in1k.py', tmp_path)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert isinstance(model, ImageClassifier)
