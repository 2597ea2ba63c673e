# Copyright (c) mmactive contributors. All rights reserved.
"""Runs all that docs/en/useful_tools.md shows, on few of the digits."""

import glob
import re
import shlex
import sys
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from PIL import Image

from mmactive import __main__ as mmactive_main

from .conftest import ROOT, forget_runs
from .test_quickstart import CONFIGS, NAMES, SHORT, data  # noqa: F401

pytest.importorskip('pytorch_grad_cam')
pytest.importorskip('seaborn')

PAGE = ROOT / 'docs' / 'en' / 'useful_tools.md'
BLOCKS = re.findall(r'```(\w+)\n(.*?)```', PAGE.read_text(), re.DOTALL)


@pytest.fixture
def place(data, run_tool, monkeypatch):  # noqa: F811
    """The quickstart's folder, with two images a class, after an iteration."""
    for split in ('train', 'val'):
        for folder in Path('data/digits', split).iterdir():
            for path in sorted(folder.iterdir())[2:]:
                path.unlink()
    for name in ('configs', 'tools'):
        Path(name).symlink_to(ROOT / name)
    matplotlib.use('Agg')
    for name, last in zip(NAMES, ('epoch_10', 'epoch_1', 'iter_1000')):
        run_tool(
            *('train.py', CONFIGS / f'{name}.py', '--cfg-options'),
            *(*SHORT[name], 'default_hooks.logger.interval=1'),
        )
        work_dir = Path('work_dirs') / name
        saved = Path((work_dir / 'last_checkpoint').read_text())
        if not (work_dir / f'{last}.pth').exists():
            (work_dir / f'{last}.pth').symlink_to(saved)


def iter_commands(text):
    for line in text.replace('\\\n', ' ').splitlines():
        words = [
            path
            for word in shlex.split(line)
            for path in (sorted(glob.glob(word)) if '*' in word else [word])
        ]
        if words:
            yield words


def test_page(place, run_tool, monkeypatch):
    for language, text in BLOCKS:
        forget_runs()
        if language == 'python':
            exec(compile(text, str(PAGE), 'exec'), {})
            continue
        assert language == 'bash'
        for words in iter_commands(text):
            if words[:2] == ['pip', 'install']:
                continue
            assert words.pop(0) == 'python'
            if words[0] != '-m':
                run_tool(words[0].partition('/')[2], *words[1:])
                continue
            assert words[1] == 'mmactive'
            forget_runs()
            monkeypatch.setattr(sys, 'argv', words[1:])
            monkeypatch.setattr(sys, 'path', ['', *sys.path])
            mmactive_main.main()
    check_results()


def check_results():
    """Checks that the pictures show something, the size of what they show."""
    pictures = [
        *('schedule.png', 'loss.png', 'losses.png', 'loss_segmentor.png'),
        *('confusion.png', 'confusion_segmentor.png'),
        'results/detector/confusion_matrix.png',
        *('cam.png', 'cam_segmentor.png', 'predicted.png'),
        *(f'features{i}.png' for i in range(4)),
    ]
    for folder, num in (
        ('browse/classifier', 4),
        ('browse/detector', 2),
        ('browse/segmentor', 2),
        ('results/classifier', 2),
        ('results/detector', 2),
        ('segmentation', 2),
    ):
        found = [
            path
            for path in Path(folder).rglob('*')
            if path.suffix in ('.png', '.jpg')
        ]
        assert len(found) >= num, folder
        pictures += found[:2]
    for path in pictures:
        with Image.open(path) as image:
            assert np.ptp(np.asarray(image)) > 0, path
    # All of the digit, but scaled
    assert cv2.imread('cam.png').shape == (48, 48, 3)
    assert cv2.imread('cam_segmentor.png').shape == (128, 128, 3)
