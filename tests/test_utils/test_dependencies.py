# Copyright (c) mmactive contributors. All rights reserved.
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmactive.utils import dependencies
from mmactive.utils.dependencies import (
    HINT,
    SUPPORTED,
    find_version,
    import_hint,
    is_installed,
    is_supported,
)

ROOT = Path(__file__).resolve().parents[2]


def run_python(*args, path=ROOT):
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(path), str(ROOT)]))
    command = [sys.executable, '-W', 'ignore', *args]
    return subprocess.run(
        command, env=env, cwd=path, capture_output=True, text=True
    )


def make_package(folder, name, text):
    (folder / name).mkdir()
    (folder / name / '__init__.py').write_text(text)


@pytest.mark.parametrize(
    ('name', 'version', 'expected'),
    [
        ('mmcv', '2.0.1', False),
        ('mmcv', '2.1.0', True),
        ('mmcv', '2.2.0', False),
        ('mmcv', '2.3.6', True),
        ('mmengine', '0.10.3', False),
        ('mmengine', '0.10.7', True),
        ('mmengine', '0.10.12', True),
        ('mmengine', '0.11.0', False),
        ('mmdet', '2.28.2', False),
        ('mmdet', '3.3.0', True),
        ('mmdet', '3.5.1', True),
        ('mmseg', '1.2.2', True),
        ('mmseg', '1.3.0', False),
        ('mmpretrain', '1.3.6', True),
    ],
)
def test_supported_ranges(name, version, expected):
    assert is_supported(name, version) == expected


def test_requirements_agree():
    """The ranges checked at import are those that pip is asked for."""
    for index, file in enumerate(('mminstall.txt', 'mminstall_onedl.txt')):
        lines = (ROOT / 'requirements' / file).read_text().splitlines()
        for supported in SUPPORTED.values():
            assert ''.join(list(supported.items())[index]) in lines


def test_constraints_are_supported():
    lines = (ROOT / 'requirements' / 'constraints.txt').read_text()
    pinned = dict(
        line.split('==') for line in lines.splitlines() if '==' in line
    )
    for name, supported in SUPPORTED.items():
        for distribution in supported:
            assert is_supported(name, pinned.pop(distribution))
    assert not pinned


@pytest.mark.parametrize(
    ('name', 'version', 'supported'),
    [
        ('mmengine', '0.9.0', 'mmengine>=0.10.4,<0.10.8'),
        ('mmcv', '1.7.2', 'mmcv>=2.1.0,<2.2.0'),
        ('mmdet', '2.28.2', 'mmdet>=3.3.0,<3.4.0'),
        ('mmseg', '0.30.0', 'mmsegmentation>=1.2.2,<1.3.0'),
        ('mmpretrain', '0.25.0', 'mmpretrain>=1.2.0,<1.3.0'),
    ],
)
def test_unsupported_version(tmp_path, name, version, supported):
    """It is found without importing the package, which need not work."""
    make_package(
        tmp_path, name, f"__version__ = '{version}'\nraise RuntimeError\n"
    )
    result = run_python('-c', 'import mmactive', path=tmp_path)
    assert result.returncode == 1
    message = result.stderr.splitlines()[-1]
    for part in ('ImportError', f'{name} {version}', supported, HINT):
        assert part in message


def test_unsupported_torch(monkeypatch):
    monkeypatch.setattr('torch.torch_version.__version__', '2.3.1')
    with pytest.raises(ImportError, match='torch>=2.4, but torch 2.3.1'):
        dependencies.check_versions()


def test_version_of_loaded_module(monkeypatch):
    mmcv = pytest.importorskip('mmcv')
    monkeypatch.setattr(mmcv, '__version__', '2.2.0')
    with pytest.raises(ImportError, match='but mmcv 2.2.0 is installed'):
        dependencies.check_versions()


def test_fork_that_asks_for_its_version(tmp_path, monkeypatch):
    """The forks' modules hold no number."""
    make_package(tmp_path, 'mmseg', "__version__ = version('onedl-...')\n")
    info = tmp_path / 'onedl_mmsegmentation-1.4.2.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(
        'Name: onedl-mmsegmentation\nVersion: 1.4.2\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'mmseg', raising=False)
    monkeypatch.setitem(
        SUPPORTED, 'mmseg', {'onedl-mmsegmentation': '>=1.4.2'}
    )
    assert find_version('mmseg') == '1.4.2'


def test_is_installed(tmp_path, monkeypatch):
    (tmp_path / 'mmdata').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert is_installed('torch')
    assert not is_installed('mmnothing')
    assert not is_installed('mmdata')
    assert find_version('mmengine')


def test_ops_need_torch_alone():
    """Without any OpenMMLab package the operator works, the models say why."""
    block = 'import sys\n'
    for name in (*SUPPORTED, 'packaging'):
        block += f'sys.modules[{name!r}] = None\n'
    operator = (
        'import torch, mmactive.ops\n'
        'x = torch.rand(1, 4, 4, 2)\n'
        'mmactive.ops.axial_deform_gather(x, torch.zeros(1, 4, 4, 1), 1)\n'
    )
    result = run_python('-c', block + operator)
    assert result.returncode == 0, result.stderr
    result = run_python('-c', block + 'import mmactive.models')
    assert result.returncode == 1
    message = result.stderr.splitlines()[-1]
    for part in ('ModuleNotFoundError', "No module named 'mm", HINT):
        assert part in message


def test_import_without_torch():
    result = run_python(
        '-c', 'import sys\nsys.modules["torch"] = None\nimport mmactive'
    )
    assert HINT in result.stderr.splitlines()[-1]


def test_import_hint():
    def fail():
        with import_hint():
            raise ModuleNotFoundError('no nothing', name='nothing')

    with pytest.raises(ModuleNotFoundError, match='collect_env') as info:
        fail()
    assert info.value.name == 'nothing'
