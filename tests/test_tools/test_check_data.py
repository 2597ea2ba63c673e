# Copyright (c) mmactive contributors. All rights reserved.
import json
import shutil

import numpy as np
import pytest
from PIL import Image

TOOL = 'analysis_tools/check_data.py'


@pytest.fixture
def place(workspace):
    """A folder with the three configs, and with data of its own to spoil."""
    data = (workspace / 'data').resolve()
    (workspace / 'data').unlink()
    shutil.copytree(data, workspace / 'data')
    return workspace


@pytest.fixture
def check(run_tool, capsys):
    """Runs the tool; returns its exit status and the lines of errors."""

    def run(*args):
        status = 0
        try:
            run_tool(TOOL, *args)
        except SystemExit as error:
            status = error.code
        lines = capsys.readouterr().out.splitlines()
        return status, [line for line in lines if 'Error: ' in line]

    return run


@pytest.mark.parametrize('task', ['classifier', 'detector', 'segmentor'])
def test_sound_data(task, place, check):
    assert check(f'{task}.py', '--workers', 1) == (0, [])


def test_all_errors_are_listed(place, check):
    """Of images, those that no other file is to blame for."""
    path = place / 'data/boxes/boxes.json'
    content = json.loads(path.read_text())
    for i in (1, 3):
        content['images'][i]['width'] = 100 + i
    path.write_text(json.dumps(content))
    (place / 'data/boxes/images/2.png').write_bytes(b'no image')
    status, errors = check('detector.py', '--workers', 0)
    assert status == 1
    assert len(errors) == 2 * 3  # as training and validation have the same
    assert 'boxes/images/1.png: the image has a height of 128' in errors[0]
    assert 'boxes/images/2.png' in errors[1]
    assert 'says height 128 and width 103' in errors[2]
    assert check('detector.py', '--no-images') == (0, [])

    content['annotations'][2]['bbox'][2] = -3
    path.write_text(json.dumps(content))
    status, errors = check('detector.py', '--splits', 'val')
    assert status == 1
    assert len(errors) == 1
    assert 'boxes.json: annotation 3: bbox is [' in errors[0]


def test_label_maps(place, check):
    labels = place / 'data/areas/labels'
    Image.fromarray(np.full((128, 128), 7, np.uint8)).save(labels / '2.png')
    status, errors = check('segmentor.py', '--splits', 'train')
    assert status == 1
    assert len(errors) == 1
    assert (
        'areas/labels/2.png: the labels of 2 classes are 0 to 1' in errors[0]
    )


def test_folders_of_validation(place, check):
    shutil.copytree('data/classes', 'other')
    (place / 'other/dark').rename(place / 'other/Light')
    option = ('--cfg-options', 'val_dataloader.dataset.data_root=other')
    status, errors = check('classifier.py', '--no-images', *option)
    assert status == 1
    assert len(errors) == 1
    assert "label 0 is 'Light', but 'dark' in data/classes" in errors[0]
    status, errors = check(
        'classifier.py',
        '--cfg-options',
        'train_dataloader.dataset.data_root=x',
    )
    assert status == 1
    assert 'FileNotFoundError: train_dataloader.dataset.data_root' in errors[0]
