# Copyright (c) mmactive contributors. All rights reserved.
import os
from pathlib import Path

import pytest
import torch

# Before mmdet and mmseg, for which it supplies mmcv's operators
import mmactive  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    """Skips what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker('cuda'):
            item.add_marker(pytest.mark.skip(reason='needs an NVIDIA GPU'))


@pytest.fixture(scope='session')
def data_folder():
    """Folder of real images for the tests that use them; else they skip."""
    folder = os.getenv('MMACTIVE_TEST_DATA', ROOT.parent / 'shared' / 'data')
    if not Path(folder).is_dir():
        pytest.skip(
            f'no test images: {folder} does not exist (set MMACTIVE_TEST_DATA)'
        )
    return Path(folder)


@pytest.fixture
def no_default_scope():
    """Makes mmengine forget the scope that earlier tests have set."""
    from mmengine.registry import DefaultScope

    DefaultScope._instance_dict.clear()
