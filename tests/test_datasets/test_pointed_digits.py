# Copyright (c) mmactive contributors. All rights reserved.
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from mmactive.models import ActiveMLP

FOLDER = Path(__file__).parents[2] / 'tools' / 'dataset_converters'
SIZE, DIGIT_SIZE, BAR_WIDTH, REACH = 112, 32, 6, 64


@pytest.fixture
def pointed_digits(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import pointed_digits

    return pointed_digits


def find_bar(image):
    """Finds the axis of the row or column that is pointed at, and its start.

    Nothing lies between the bar and the digits.
    """
    gap = np.s_[BAR_WIDTH : BAR_WIDTH + REACH]
    axis = 0 if not image[:, gap].any() else 1
    assert not np.moveaxis(image, axis, 0)[:, gap].any()
    bar = np.moveaxis(image, axis, 0)[:, :BAR_WIDTH]
    filled = np.flatnonzero(bar[:, 0])
    start = filled[0]
    assert filled.tolist() == list(range(start, start + DIGIT_SIZE))
    assert (bar[filled] == bar[start, 0]).all()
    return axis, start


def test_bar_points_at_the_class(pointed_digits):
    digits = load_digits()
    known = [
        cv2.resize(i, (DIGIT_SIZE,) * 2, interpolation=cv2.INTER_CUBIC)
        for i in digits.images.clip(0)
    ]
    known = np.stack(known).clip(0, 16).reshape(len(known), -1)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    composer = pointed_digits.PairComposer('val', seed=0)
    axes = set()
    for _ in range(20):
        image, label = composer.compose()
        assert image.shape == (SIZE, SIZE)
        axis, start = find_bar(image)
        axes.add(axis)
        best = []
        for far in range(BAR_WIDTH + REACH, SIZE - DIGIT_SIZE + 1):
            top, left = (start, far) if axis == 0 else (far, start)
            ink = image[top : top + DIGIT_SIZE, left : left + DIGIT_SIZE]
            likeness = known @ (ink.ravel() / max(np.linalg.norm(ink), 1))
            best.append((likeness.max(), digits.target[likeness.argmax()]))
        assert max(best)[0] > 0.999
        assert max(best)[1] == label
    assert axes == {0, 1}


def test_convolutions_do_not_see_bar_and_digit():
    """What is left of the network without its blocks."""
    backbone = ActiveMLP('xtiny')
    for stage in backbone.stages:
        stage.blocks = nn.ModuleList()
    image = torch.rand(1, 3, SIZE, SIZE, requires_grad=True)
    (tokens,) = backbone(image)
    assert tokens.shape[2:] == (4, 4)
    for token in tokens[0].sum(0).flatten():
        (grad,) = torch.autograd.grad(token, image, retain_graph=True)
        for seen in grad[0].ne(0).any(0), grad[0].ne(0).any(0).T:
            bar = seen[:, :BAR_WIDTH].any()
            digit = seen[:, BAR_WIDTH + REACH :].any()
            assert not (bar and digit)


def test_command(pointed_digits, tmp_path):
    from mmpretrain.datasets import CustomDataset

    out_dir = tmp_path / 'pairs'
    command = [sys.executable, FOLDER / 'pointed_digits.py', out_dir]
    command += ['--train', '30', '--val', '20']
    for word in ('written', 'already there'):
        output = subprocess.check_output(command, text=True)
        assert output == f'{out_dir}: {word}\n'
    pointed_digits.write_pairs(
        tmp_path / 'again', seed=0, numbers=dict(train=30, val=20)
    )
    for split, number in dict(train=30, val=20).items():
        paths = sorted((out_dir / split).glob('*/*.png'))
        assert len(paths) == number
        for path in paths:
            other = tmp_path / 'again' / path.relative_to(out_dir)
            assert path.read_bytes() == other.read_bytes()
            assert Image.open(path).mode == 'L'
        dataset = CustomDataset(data_root=str(out_dir), data_prefix=split)
        assert len(dataset) == number
        assert tuple('0123456789') == dataset.CLASSES


def test_other_settings_are_not_taken(pointed_digits, tmp_path, monkeypatch):
    out_dir = tmp_path / 'pairs'
    command = ['pointed_digits.py', str(out_dir), '--train', '2', '--val', '2']
    monkeypatch.setattr(sys, 'argv', command)
    pointed_digits.main()
    monkeypatch.setattr(pointed_digits, 'BAR_WIDTH', 8)
    with pytest.raises(FileExistsError, match='bar_width'):
        pointed_digits.main()
