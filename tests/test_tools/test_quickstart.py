# Copyright (c) mmactive contributors. All rights reserved.
"""The steps of tools/quickstart.sh with few images and few iterations."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'digits'
NAMES = [
    'activemlp-xtiny_digits',
    'mask-rcnn_activemlp-xtiny_fpn_digits',
    'fpn_activemlp-xtiny_digits',
]
METRICS = dict(zip(NAMES, ['accuracy/top1', 'coco/segm_mAP_50', 'mIoU']))
SHORT = {
    NAMES[0]: [
        'train_dataloader.batch_size=4',
        'train_dataloader.dataset.indices=4',
        'train_cfg.max_epochs=1',
    ],
    NAMES[1]: ['train_dataloader.batch_size=2', 'train_cfg.max_epochs=1'],
    NAMES[2]: [
        'train_dataloader.batch_size=2',
        'train_cfg.max_iters=1',
        'train_cfg.val_interval=1',
        'default_hooks.checkpoint.interval=1',
    ],
}


@pytest.fixture
def data(monkeypatch, tmp_path):
    """Changes into a folder with few of the quickstart's images."""
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'dataset_converters')
    import digit_scenes
    import digits

    digits.write_digits(tmp_path / 'data' / 'digits', seed=0)
    digit_scenes.write_scenes(
        tmp_path / 'data' / 'digit_scenes',
        seed=0,
        numbers=dict(train=2, val=2),
    )
    monkeypatch.chdir(tmp_path)


def test_every_step_runs(data, run_tool):
    for name in NAMES:
        config = CONFIGS / f'{name}.py'
        work_dir = Path('work_dirs') / name
        run_tool('train.py', config, '--resume', '--cfg-options', *SHORT[name])
        checkpoint = Path((work_dir / 'last_checkpoint').read_text())
        if name == NAMES[0]:
            # The others start from the checkpoint of the whole training.
            pretrained = Config.fromfile(CONFIGS / f'{NAMES[1]}.py').pretrained
            Path(pretrained).symlink_to(checkpoint)
        run_tool(
            'test.py',
            config,
            checkpoint,
            '--out',
            work_dir / 'metrics.json',
            '--out-item',
            'metrics',
        )
        metrics = json.loads((work_dir / 'metrics.json').read_text())
        assert metrics[METRICS[name]] >= 0
        picture = work_dir / 'predictions.png'
        run_tool(
            'analysis_tools/draw_predictions.py',
            config,
            checkpoint,
            picture,
            '--num',
            '2',
        )
        with Image.open(picture) as image:
            assert min(image.size) > 100


def test_script_names_what_the_configs_write():
    script = (ROOT / 'tools' / 'quickstart.sh').read_text()
    tasks = re.findall(r'^run_task (\S+) (\S+)', script, re.M)
    assert [name for name, _ in tasks] == NAMES
    for name, checkpoint in tasks:
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
        if (
            cfg.train_cfg.get('by_epoch', True)
            and 'max_epochs' in cfg.train_cfg
        ):
            assert checkpoint == f'epoch_{cfg.train_cfg.max_epochs}.pth'
        else:
            assert checkpoint == f'iter_{cfg.train_cfg.max_iters}.pth'
        if name != NAMES[0]:
            assert cfg.pretrained == f'work_dirs/{tasks[0][0]}/{tasks[0][1]}'


@pytest.mark.parametrize('name', NAMES[1:])
def test_dense_models_start_from_the_classifier(name, tmp_path):
    def build(config, **backbone):
        cfg = Config.fromfile(CONFIGS / f'{config}.py')
        cfg.model.backbone.update(backbone)
        init_default_scope(cfg.default_scope)
        return MODELS.build(cfg.model)

    classifier = build(NAMES[0])
    checkpoint = tmp_path / 'classifier.pth'
    torch.save(dict(state_dict=classifier.state_dict()), checkpoint)
    init_cfg = dict(
        type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.'
    )
    model = build(name, init_cfg=init_cfg)
    model.init_weights()
    weights = model.backbone.state_dict()
    for key, value in classifier.backbone.state_dict().items():
        torch.testing.assert_close(weights[key], value, rtol=0, atol=0)
