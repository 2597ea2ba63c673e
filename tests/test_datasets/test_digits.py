# Copyright (c) mmactive contributors. All rights reserved.
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'tools' / 'dataset_converters'


@pytest.fixture
def digits(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import digits

    return digits


def convert(out_dir, *options):
    command = [sys.executable, str(FOLDER / 'digits.py'), str(out_dir)]
    return subprocess.run([*command, *options], capture_output=True, text=True)


def checksum(folder):
    """A hash of the names and the contents of all files in a folder."""
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    content = hashlib.sha256()
    for path in files:
        content.update(str(path.relative_to(folder)).encode())
        content.update(path.read_bytes())
    return content.hexdigest()


def test_images_are_the_digits(digits, tmp_path):
    digits.write_digits(tmp_path, seed=0)
    source = load_digits()
    seen = []
    for split, number in dict(train=1437, val=360).items():
        paths = sorted((tmp_path / split).glob('*/*.png'))
        assert len(paths) == number
        for path in paths:
            index = int(path.stem)
            assert path.parent.name == str(source.target[index])
            pixels = np.asarray(Image.open(path))
            assert pixels.shape == (8, 8)
            # Levels are 255 / 16 apart: dividing gives them back exactly.
            levels = np.rint(pixels / (255 / 16))
            np.testing.assert_array_equal(levels, source.images[index])
            seen.append(index)
    assert sorted(seen) == list(range(1797))


def test_split_is_stratified_and_seeded(digits):
    target = load_digits().target
    splits = digits.split_digits(0)
    for indices in splits.values():
        share = np.bincount(target[indices]) / len(indices)
        np.testing.assert_allclose(
            share, np.bincount(target) / len(target), atol=0.005
        )
    again, other = digits.split_digits(0), digits.split_digits(1)
    np.testing.assert_array_equal(splits['val'], again['val'])
    assert not np.array_equal(splits['val'], other['val'])


def test_command_is_reproducible_and_safe_to_repeat(tmp_path):
    first, second = tmp_path / 'first', tmp_path / 'second'
    for out_dir in first, second:
        assert convert(out_dir).stdout == f'{out_dir}: written\n'
    assert checksum(first) == checksum(second)

    before = {path: path.stat().st_mtime_ns for path in first.rglob('*')}
    assert convert(first).stdout == f'{first}: already there\n'
    after = {path: path.stat().st_mtime_ns for path in first.rglob('*')}
    assert before == after

    result = convert(first, '--seed', '1')
    assert result.returncode != 0
    assert f'out_dir: {first} exists' in result.stderr
    assert checksum(first) == checksum(second)


def test_bad_seed(tmp_path):
    result = convert(tmp_path / 'digits', '--seed', '-1')
    assert result.returncode == 2
    assert '--seed must be at least 0' in result.stderr
    assert not list(tmp_path.iterdir())


def test_foreign_folder_is_left_alone(digits, tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'mine.jpg').touch()
    with pytest.raises(FileExistsError, match='out_dir: .*photos exists'):
        digits.write_once(tmp_path / 'photos', dict(seed=0), Path.touch)
    assert (tmp_path / 'photos' / 'mine.jpg').exists()


def test_interrupted_run_leaves_nothing(digits, tmp_path):
    out_dir = tmp_path / 'data' / 'digits'

    def interrupted(root):
        (root / 'half').touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digits.write_once(out_dir, dict(seed=0), interrupted)
    assert not out_dir.exists()

    digits.write_once(
        out_dir, dict(seed=0), lambda root: (root / 'whole').touch()
    )
    assert {path.name for path in out_dir.iterdir()} == {
        'whole',
        'settings.json',
    }
    assert json.loads((out_dir / 'settings.json').read_text()) == dict(seed=0)
    assert not out_dir.with_name('digits.part').exists()


def test_mmpretrain_reads_the_folder(digits, tmp_path):
    from mmpretrain.datasets import CustomDataset

    digits.write_digits(tmp_path, seed=0)
    dataset = CustomDataset(data_root=str(tmp_path), data_prefix='val')
    assert len(dataset) == 360
    assert dataset.CLASSES == digits.CLASSES
    item = dataset.get_data_info(7)
    assert Path(item['img_path']).parent.name == str(item['gt_label'])
