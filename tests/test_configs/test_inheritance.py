# Copyright (c) mmactive contributors. All rights reserved.
"""Configs inherited as those of an installed package are.

mmengine builds what such a config defines in the scope ``mmactive``, which
knows ActiveMLP and nothing of the libraries.
"""

from copy import deepcopy
from pathlib import Path

import pytest
from config_checks import load_config
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import (
    DATASETS,
    MODELS,
    PARAM_SCHEDULERS,
    init_default_scope,
)

import mmactive  # noqa: F401
from mmactive.engine.options import merge_options

CONFIGS = Path(__file__).parents[2] / 'configs'
# One of each dataset
SMALLEST = {
    'imagenet/activemlp-xtiny_8xb128_in1k.py': 'ImageClassifier',
    'coco/retinanet_activemlp-xtiny_fpn_ms-3x_coco.py': 'RetinaNet',
    'ade20k/fpn_activemlp-xtiny_8xb4-40k_ade20k-512x512.py': 'EncoderDecoder',
    'cifar10/activemlp-xtiny_cifar10-subset.py': 'ImageClassifier',
    'digits/activemlp-xtiny_digits.py': 'ImageClassifier',
    'digits/mask-rcnn_activemlp-xtiny_fpn_digits.py': 'MaskRCNN',
    'digits/fpn_activemlp-xtiny_digits.py': 'EncoderDecoder',
}
# One of each way to inherit; the slow ones are all others.
PEERS = [
    'imagenet/peers/pvt-small_8xb128_in1k.py',
    'imagenet/peers/resmlp-s24_8xb128_in1k.py',
    'coco/peers/retinanet_twins-svt-small_fpn_1x_coco.py',
    'coco/peers/mask-rcnn_resnet18_fpn_1x_coco.py',
    'ade20k/peers/fpn_resnext101-64x4d_8xb4-40k_ade20k-512x512.py',
]
NAMES = [*SMALLEST, *PEERS] + [
    pytest.param(name, marks=pytest.mark.slow)
    for path in sorted(CONFIGS.rglob('*.py'))
    if '_base_' not in path.parts
    and (name := str(path.relative_to(CONFIGS))) not in [*SMALLEST, *PEERS]
]
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


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
    # Backbones name their library; all know the norm, how to initialize and
    # mmengine's wrapper.
    known = {'Pretrained', 'LN', 'DeepSpeedOptimWrapper'}
    assert all('.' in kind for kind in ours - known)


@pytest.mark.parametrize('name', SMALLEST)
def test_builds(name, tmp_path):
    cfg = inherit(name, tmp_path)
    init_default_scope(cfg.default_scope)
    assert type(MODELS.build(cfg.model)).__name__ == SMALLEST[name]
    for loader in LOADERS:
        dataset = cfg[loader].dataset
        Compose(dataset.pipeline)
        DATASETS.build(dict(dataset, lazy_init=True))
    for scheduler in cfg.param_scheduler:
        assert PARAM_SCHEDULERS.get(scheduler.type)


@pytest.mark.parametrize('name', SMALLEST)
def test_data_root(name):
    """The option changes the root of all data, and of annotation files."""
    cfg = deepcopy(load_config(f'configs/{name}'))
    merge_options(cfg, dict(data_root='/elsewhere'))
    for loader in LOADERS:
        root = cfg[loader].dataset.data_root
        assert root.rstrip('/') == '/elsewhere'
    ann_file = cfg.val_evaluator.get('ann_file')
    assert ann_file is None or ann_file.startswith('/elsewhere/annotations/')
