# Copyright (c) mmactive contributors. All rights reserved.
"""Where the token mixers look: the recorder, the hook and the pictures."""

import csv
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmactive.engine.offsets import (
    OffsetStatisticsHook,
    get_centre,
    record_offsets,
)
from mmactive.models import ActiveMLP

CONFIG = 'configs/digits/activemlp-xtiny_digits.py'


@pytest.fixture
def backbone():
    """Every offset layer ignores the tokens: its bias is what it predicts."""
    model = ActiveMLP('xtiny')
    for name, parameter in model.named_parameters():
        if 'offset_layer.1' in name:
            parameter.data.zero_()
            if name.endswith('bias'):
                half = len(parameter) // 2
                parameter.data[:half] = 3.0
                parameter.data[half:] = -torch.arange(half)
    return model.eval()


def test_recorded_offsets(backbone):
    with record_offsets(backbone) as offsets, torch.no_grad():
        backbone(torch.rand(2, 3, 64, 96))
    # Also the blocks that use those of another
    assert len(offsets) == sum(backbone.arch['depths'])
    offset = offsets['stages.1.blocks.1']
    assert offset.shape == (2, 8, 12, 2 * 128 // 4)
    assert (get_centre(offset, 'horizontal') == 3).all()
    vertical = get_centre(offset, 'vertical')
    assert torch.equal(vertical, -torch.arange(32.0).expand(2, 32))
    offsets.clear()
    backbone(torch.rand(1, 3, 64, 64))
    assert not offsets  # Nothing is recorded any more.


def test_model_without_offsets():
    arch = dict(ActiveMLP.arch_settings['xtiny'], interval=None)
    with (
        pytest.raises(ValueError, match='no block of ActiveMLP that predicts'),
        record_offsets(ActiveMLP(arch)),
    ):
        pass


def test_hook_logs_in_its_interval(backbone):
    hook = OffsetStatisticsHook(interval=2)
    hub = MessageHub.get_instance('test_offsets')
    runner = SimpleNamespace(model=backbone, message_hub=hub, iter=0)
    for runner.iter in range(4):
        hook.before_train_iter(runner, runner.iter)
        backbone(torch.rand(1, 3, 32, 32))
        hook.after_train_iter(runner, runner.iter)
    scalars = hub.log_scalars
    assert len(scalars) == 2 * sum(backbone.arch['depths'])
    largest = scalars['train/offset_max/stages.0.blocks.0']
    assert list(largest.data[0]) == [31, 31]
    mean = scalars['train/offset_mean/stages.0.blocks.0'].current()
    assert mean == pytest.approx((3 + np.arange(32).mean()) / 2)
    with pytest.raises(ValueError, match='interval must be positive'):
        OffsetStatisticsHook(interval=0)


def test_tool(tmp_path, backbone):
    cfg = Config.fromfile(CONFIG)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.backbone.load_state_dict(backbone.state_dict())
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    (tmp_path / 'images').mkdir()
    for name in ('one.png', 'two.jpg'):
        image = np.random.default_rng(0).integers(0, 255, (40, 60, 3))
        Image.fromarray(image.astype('uint8')).save(tmp_path / 'images' / name)

    def run(*args):
        command = [sys.executable, 'tools/visualization/offsets.py', CONFIG]
        return subprocess.run(
            [*command, tmp_path / 'model.pth', *args],
            capture_output=True,
            text=True,
        )

    result = run(tmp_path / 'images', '--out', tmp_path, '--num-drawn', '1')
    assert result.returncode == 0, result.stderr
    assert '2/2' in result.stdout  # the progress bar
    names = {path.name for path in tmp_path.glob('*.png')}
    stages = {f'one_stage{i}.png' for i in range(4)}
    assert names == {'histogram.png', 'reach.png'} | stages
    with (tmp_path / 'offsets.csv').open() as file:
        rows = list(csv.DictReader(file))
    row = next(row for row in rows if row['layer'] == 'stages.2.blocks.0')
    assert row['axis'] == 'horizontal'
    assert (float(row['mean']), int(row['count'])) == (3, 2 * 80)
    with (tmp_path / 'reach.csv').open() as file:
        rows = list(csv.DictReader(file))
    fields = [float(row['horizontal_receptive_field']) for row in rows]
    assert fields == sorted(fields)
    assert fields[-1] == 1

    result = run(tmp_path / 'nothing.png')
    assert result.returncode != 0
    assert 'images: there is no' in result.stderr
