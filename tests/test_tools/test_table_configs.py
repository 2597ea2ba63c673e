# Copyright (c) mmactive contributors. All rights reserved.
"""The tools' options on configs of the tables, where other tests have toys."""

import json
import runpy
from argparse import Namespace

import cv2
import pytest
import torch
from mmengine.config import Config

from mmactive.utils.complexity import build_model

from .conftest import ROOT, TOOLS
from .test_train import read_log

DETECTOR = 'coco/retinanet_activemlp-xtiny_fpn_1x_coco.py'
SEGMENTOR = 'ade20k/upernet_activemlp-xtiny_8xb2-160k_ade20k-512x512.py'
SIZE = 64  # shorter side of the images in pixels


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(TOOLS / 'dev' / 'run_all_configs.py'))


@pytest.fixture(scope='module')
def checkpoints(tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp('checkpoints')
    cfg = Config.fromfile(ROOT / 'configs' / SEGMENTOR)
    tool['write_checkpoint'](cfg, folder / 'activemlp-xtiny_in1k.pth')
    return folder


@pytest.fixture
def run_small(data_folder, tool, checkpoints, tmp_path, monkeypatch, run_tool):
    """Runs a tool on small images, in training for an iteration."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'checkpoints').symlink_to(checkpoints)
    args = Namespace(data=data_folder.resolve(), size=SIZE)

    def run(name, config, *words, options=()):
        path = ROOT / 'configs' / config
        run_tool(
            *(name, path, *words, '--work-dir', 'work', '--cfg-options'),
            *(*tool['list_options'](config, args), *options),
            'train_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False',
        )
        return Config.fromfile(path)

    return run


@pytest.mark.parametrize(
    ('config', 'batch_size'), [(DETECTOR, 1), (SEGMENTOR, 2)]
)
def test_amp_and_auto_scale_lr(config, batch_size, run_small, tmp_path):
    words = ('--no-validate', '--amp', '--auto-scale-lr')
    cfg = run_small('train.py', config, *words)
    (line,) = read_log(tmp_path / 'work')
    # The rates of both configs are for batches of 16.
    lr = cfg.optim_wrapper.optimizer.lr * batch_size / 16
    assert line['lr'] == pytest.approx(lr)
    assert 0.5 < line['loss'] < 20


def test_tta(run_small, data_folder, tmp_path):
    # Every view's scores are scaled to the image, and there are twelve.
    for part, suffix in (('images', '.jpg'), ('annotations', '.png')):
        folder = data_folder / 'ade_layout' / part / 'validation'
        path = min(folder.glob(f'*{suffix}'))
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        small = cv2.resize(image, (128, 96), interpolation=cv2.INTER_NEAREST)
        (tmp_path / part / 'validation').mkdir(parents=True)
        cv2.imwrite(str(tmp_path / part / 'validation' / path.name), small)
    options = [f'data_root={tmp_path}'] + [
        f'tta_pipeline.1.transforms.0.{i}.scale=({SIZE * 4},{side})'
        for i, side in enumerate(range(32, 80, 8))
    ]
    cfg = Config.fromfile(ROOT / 'configs' / SEGMENTOR)
    weights = build_model(cfg, 'cpu').state_dict()
    torch.save(dict(state_dict=weights), 'any.pth')
    words = ('--tta', '--out-item', 'metrics', '--out', 'metrics.json')
    run_small('test.py', SEGMENTOR, 'any.pth', *words, options=options)
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert 0 <= metrics['mIoU'] <= 100
