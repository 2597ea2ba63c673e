# Copyright (c) mmactive contributors. All rights reserved.
"""A model of each task, untrained, with weights that a checkpoint holds."""

import re
import runpy
import shlex
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from test_tools.conftest import CONFIGS, ROOT, forget_runs

DEMO = ROOT / 'demo'

CLASSES = dict(
    classifier=('dark', 'light'),
    detector=('square',),
    segmentor=('ground', 'square'),
)


def list_commands(demo, **places):
    """Lists the documentation's commands of a demo, without 'python'.

    Args:
        demo (str): Name of the file.
        places (dict): What to put in the place of CONFIG and alike.
    """
    page = (ROOT / 'docs' / 'en' / 'demo.md').read_text()
    lines = re.findall(rf'^python demo/({demo} .*)$', page, re.M)
    assert lines
    return [
        [str(places.get(word, word)) for word in shlex.split(line)]
        for line in lines
    ]


@pytest.fixture(scope='session')
def models(tmp_path_factory):
    """Paths of configs and checkpoints by the kind of model."""
    folder = tmp_path_factory.mktemp('models')
    paths = {}
    for kind, text in CONFIGS.items():
        config, checkpoint = folder / f'{kind}.py', folder / f'{kind}.pth'
        config.write_text(text)
        cfg = Config.fromfile(config)
        preprocessor = cfg.get('data_preprocessor')
        cfg.model.setdefault('data_preprocessor', preprocessor)
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
            model.init_weights()
        content = dict(
            state_dict=model.state_dict(),
            meta=dict(dataset_meta=dict(classes=CLASSES[kind])),
        )
        torch.save(content, checkpoint)
        paths[kind] = str(config), str(checkpoint)
    return paths


@pytest.fixture
def run_demo(monkeypatch, tmp_path):
    """Runs a demo in this process and in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(name, *args):
        forget_runs()
        path = str(DEMO / name)
        monkeypatch.setattr(sys, 'argv', [path, *map(str, args)])
        return runpy.run_path(path, run_name='__main__')

    return run
