# Copyright (c) mmactive contributors. All rights reserved.
import importlib.util
import subprocess
import sys
import types

import pytest

from mmactive.utils.import_hook import call_when_imported

needs_mmcv = pytest.mark.skipif(
    importlib.util.find_spec('mmcv') is None, reason='needs mmcv'
)


def run_python(code, *options):
    command = [sys.executable, *options, '-c', code]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.skipif(
    importlib.util.find_spec('mmactive._ext') is None,
    reason='the extension was not built',
)
@pytest.mark.parametrize('statement', ['mmactive', 'mmactive.ops'])
def test_only_torch_is_imported(statement):
    """Warnings of OpenMMLab's packages, such as mmengine's, do not matter."""
    code = f'import sys, {statement}; print(*sys.modules)'
    modules = set(run_python(code, '-W', 'error').split())
    assert {'torch', 'mmactive.ops'} <= modules
    roots = {name.partition('.')[0] for name in modules}
    assert not roots & {'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'}


@needs_mmcv
@pytest.mark.parametrize(
    'imports',
    [
        'import mmactive',
        'import mmactive.ops; import mmactive',
        'from mmactive.ops import axial_deform_gather; import mmactive.models',
        'import mmengine; import mmactive',
        'import mmactive; import mmcv',
        'import mmcv.cnn; import mmactive.ops',
    ],
)
def test_models_are_registered(imports):
    """However mmactive is imported, and whatever before and after it."""
    code = (
        f'{imports}\n'
        'from mmengine.registry import MODELS\n'
        "found = MODELS.get('mmactive.ActiveMLP')\n"
        'import mmactive\n'
        'assert found is mmactive.models.ActiveMLP\n'
    )
    run_python(code, '-W', 'ignore')


def test_config_registers_the_models(tmp_path):
    pytest.importorskip('mmcv')
    config = tmp_path / 'config.py'
    config.write_text("custom_imports = dict(imports=['mmactive'])\n")
    code = (
        'from mmengine import Config; from mmengine.registry import MODELS\n'
        f'Config.fromfile({str(config)!r})\n'
        "assert MODELS.get('mmactive.ActiveMLP')\n"
    )
    run_python(code, '-W', 'ignore')


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that can be imported."""
    (tmp_path / 'imported_late.py').write_text('is_complete = True\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    yield 'imported_late'
    sys.modules.pop('imported_late', None)


def test_called_once_when_imported(module):
    calls = []
    call_when_imported(
        module, lambda: calls.append(sys.modules[module].is_complete)
    )
    assert importlib.util.find_spec(module)
    assert not calls
    importlib.import_module(module)
    assert calls == [True]
    importlib.reload(sys.modules[module])
    assert calls == [True]


def test_several_calls_for_one_module(module):
    calls = []
    for i in range(3):
        call_when_imported(module, lambda i=i: calls.append(i))
    importlib.import_module(module)
    assert sorted(calls) == [0, 1, 2]


def test_called_at_once_if_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, 'early', types.ModuleType('early'))
    calls = []
    call_when_imported('early', lambda: calls.append(1))
    assert calls == [1]


def test_error_comes_out_of_the_import(module):
    def fail():
        raise ImportError('unsupported')

    call_when_imported(module, fail)
    with pytest.raises(ImportError, match='unsupported'):
        importlib.import_module(module)
