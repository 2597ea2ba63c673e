# Copyright (c) mmactive contributors. All rights reserved.
"""Runs the configs and commands of docs/en/checkpoints.md."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from mmactive.utils.checkpoint import load

from .conftest import ROOT

PAGE = (ROOT / 'docs' / 'en' / 'checkpoints.md').read_text()
SHORT = [
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=2',
    'train_dataloader.dataset.indices=4',
    'val_dataloader.dataset.indices=4',
]


@pytest.fixture
def place(tmp_path, monkeypatch, run_tool):
    """A folder as the page has it, with a classifier of the quickstart's."""
    monkeypatch.chdir(tmp_path)
    for name in ('tools', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'dataset_converters')
    import digits

    digits.write_digits(tmp_path / 'data' / 'digits', seed=0)
    config = 'configs/digits/activemlp-xtiny_digits.py'
    run_tool('train.py', config, '--no-validate', '--cfg-options', *SHORT)
    rename_last()


def rename_last():
    """Gives the last checkpoints the names that whole trainings leave."""
    for last in Path('work_dirs').glob('*/last_checkpoint'):
        target = last.with_name('epoch_10.pth')
        if not target.exists():
            target.symlink_to(last.read_text())


def test_snippets(place, run_tool):
    pytest.importorskip('safetensors')
    commands = 0
    for language, text in re.findall(r'```(\w+)\n(.*?)```', PAGE, re.DOTALL):
        if language == 'python' and text.startswith('# experiments/'):
            path = Path(text.partition('\n')[0][2:])
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif language == 'bash':
            words = shlex.split(text)[1:]
            if words[0].endswith('train.py'):
                words += ['--cfg-options', *SHORT]
                words.append('optim_wrapper.optimizer.lr=0.0')
            run_tool(words[0].partition('/')[2], *words[1:])
            rename_last()
            commands += 1
        elif language == 'python':
            exec(text)
    assert commands == 3

    before, after, published = (
        load(path)['state_dict']
        for path in (
            'work_dirs/activemlp-xtiny_digits/epoch_10.pth',
            'work_dirs/grey_digits/epoch_10.pth',
            next(Path('checkpoints').glob('grey_digits-*.safetensors')),
        )
    )
    name = 'backbone.downsample_layers.0.weight'
    summed = before.pop(name).sum(dim=1, keepdim=True)
    torch.testing.assert_close(after[name], summed)
    assert all(torch.equal(after[key], x) for key, x in before.items())
    assert all(torch.equal(published[key], x) for key, x in after.items())
    (best,) = Path('work_dirs/grey_digits').glob('best_*.safetensors')
    assert torch.equal(load(best)['state_dict'][name], after[name])
