# Copyright (c) mmactive contributors. All rights reserved.
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmactive.utils import collect_env, dependencies
from mmactive.utils.collect_env import Outcome, find_problems

ROOT = Path(__file__).resolve().parents[2]


OPERATORS = dict(compiled=True, compiler='GCC 12', cuda=collect_env.NO_CUDA)
SUPPLIED = dict(OPERATORS, compiled=False, compiler='torchvision 0.29')


@pytest.fixture
def healthy(monkeypatch, tmp_path):
    """What the probes report where all is well, and nothing else installed."""
    extension = tmp_path / '_ext.so'
    extension.write_bytes(b'\0MMACTIVE_BUILD_INFO torch=2.10+;cuda=none\0')
    monkeypatch.setattr(collect_env, 'EXTENSION', extension)
    set_distributions(
        monkeypatch,
        mmengine=[('mmengine', '0.10.7')],
        mmcv=[('mmcv', '2.1.0')],
    )
    return {
        'torch': Outcome(dict(version='2.11.0', cuda='13.0', gpus=[])),
        'mmengine': Outcome({'Python': '3.11'}),
        'mmcv._ext': Outcome(OPERATORS),
        'mmactive._ext': Outcome(False),
        'imports': Outcome({}),
    }


def set_distributions(monkeypatch, **found):
    distributions = {
        name: found.get(name, []) for name in collect_env.SUPPORTED
    }
    versions = {name: items[-1][1] for name, items in found.items()}
    installed = {*versions, 'pkg_resources'}
    monkeypatch.setattr(
        collect_env, 'find_distributions', lambda: distributions
    )
    monkeypatch.setattr(collect_env, 'find_version', versions.get)
    monkeypatch.setattr(collect_env, 'is_installed', installed.__contains__)


def the_problem(outcomes):
    (problem,) = find_problems(outcomes)
    return problem


def test_nothing_to_mend(healthy):
    assert find_problems(healthy) == []


def test_no_torch(healthy):
    """All else fails for the same reason, and is not reported."""
    for name in healthy:
        healthy[name] = Outcome(error="No module named 'torch'")
    problem = the_problem(healthy)
    assert "No module named 'torch'" in problem.what
    assert 'install "torch==2.14.1" "torchvision==0.29.1"' in problem.mend


def test_old_torch(healthy):
    healthy['torch'] = Outcome(dict(version='2.3.1', cuda=None, gpus=[]))
    assert 'torch 2.3.1 is older than 2.4' in the_problem(healthy).what


def test_torchvision_of_another_torch(healthy):
    error = 'RuntimeError: operator torchvision::nms does not exist'
    healthy['imports'] = Outcome({'torchvision': error})
    problem = the_problem(healthy)
    assert error in problem.what
    assert '"torch==2.11.0" torchvision' in problem.mend


def test_missing_package(healthy, monkeypatch):
    set_distributions(monkeypatch, mmengine=[('mmengine', '0.10.7')])
    problem = the_problem(healthy)
    assert 'mmcv is not installed' in problem.what
    assert 'install "mmcv-lite>=2.1.0,<2.2.0"' in problem.mend


def test_unsupported_version(healthy, monkeypatch):
    set_distributions(
        monkeypatch,
        mmengine=[('mmengine', '0.10.7')],
        mmcv=[('mmcv', '2.1.0')],
        mmdet=[('mmdet', '2.28.2')],
    )
    problem = the_problem(healthy)
    assert 'mmdet 2.28.2' in problem.what
    assert 'install "mmdet>=3.3.0,<3.4.0"' in problem.mend


def test_package_twice(healthy, monkeypatch):
    set_distributions(
        monkeypatch,
        mmengine=[('mmengine', '0.10.7')],
        mmcv=[('mmcv-full', '1.7.2'), ('mmcv', '2.1.0')],
    )
    problem = the_problem(healthy)
    assert 'mmcv-full 1.7.2 and mmcv 2.1.0' in problem.what
    assert 'uninstall -y mmcv mmcv-full' in problem.mend


def test_both_sets(healthy, monkeypatch):
    set_distributions(
        monkeypatch,
        mmengine=[('mmengine', '0.10.7'), ('onedl-mmengine', '0.10.12')],
        mmcv=[('mmcv', '2.1.0')],
    )
    problem = the_problem(healthy)
    assert 'mixed (mmengine, onedl-mmengine, mmcv)' in problem.what
    assert 'uninstall -y mmengine onedl-mmengine mmcv' in problem.mend


def test_forks_are_mended_with_forks(healthy, monkeypatch):
    set_distributions(
        monkeypatch,
        mmengine=[('onedl-mmengine', '0.10.12')],
        mmcv=[('onedl-mmcv', '2.3.6')],
    )
    healthy['mmcv._ext'] = Outcome(error='undefined symbol: c10')
    monkeypatch.setattr(dependencies, 'is_fork_installed', lambda: True)
    assert '"onedl-mmcv>=2.3.6,<2.4.0"' in the_problem(healthy).mend


@pytest.mark.parametrize(
    ('error', 'what'),
    [
        ('ImportError: undefined symbol: _ZN3c10', 'another PyTorch'),
        ('Python crashed (SIGSEGV)', 'does not load'),
    ],
)
def test_mmcv_operators(healthy, error, what):
    healthy['mmcv._ext'] = Outcome(error=error)
    problem = the_problem(healthy)
    assert what in problem.what
    assert error in problem.what
    assert 'MMCV_WITH_OPS=1' in problem.mend
    assert '--no-build-isolation' in problem.mend


def test_supplied_operators(healthy):
    healthy['mmcv._ext'] = Outcome(SUPPLIED)
    assert find_problems(healthy) == []
    section = collect_env.describe(healthy)['Extensions']['mmcv._ext']
    assert 'torchvision 0.29' in section
    healthy['mmcv._ext'] = Outcome(OPERATORS)
    section = collect_env.describe(healthy)['Extensions']['mmcv._ext']
    assert 'compiled by GCC 12' in section


def test_nothing_to_supply_operators_from(healthy):
    error = "ModuleNotFoundError: No module named 'torchvision'"
    healthy['mmcv._ext'] = Outcome(error=error)
    problem = the_problem(healthy)
    assert 'no compiled operators' in problem.what
    assert problem.mend.endswith('install torchvision')


def test_torchvision_without_cuda(healthy):
    healthy['torch'].value['gpus'] = ['NVIDIA H200']
    healthy['mmactive._ext'] = Outcome(True)
    healthy['mmcv._ext'] = Outcome(SUPPLIED)
    assert 'torchvision has no CUDA kernels' in the_problem(healthy).what


def test_extension_is_missing(healthy, monkeypatch):
    collect_env.EXTENSION.unlink()
    healthy['mmactive._ext'] = Outcome(error='OSError: no such file')
    extensions = collect_env.describe(healthy)['Extensions']
    assert extensions['mmactive._ext'] == 'not built'
    with monkeypatch.context() as patch:
        patch.setenv('PATH', '')
        assert 'no C++ compiler' in the_problem(healthy).what
    problem = the_problem(healthy)
    assert 'mmactive._ext is not built' in problem.what
    assert 'pip install -v -e . --no-build-isolation' in problem.mend


def test_torch_without_the_stable_abi(healthy):
    healthy['torch'].value['version'] = '2.9.1'
    healthy['mmactive._ext'] = Outcome(error='OSError: undefined symbol: x')
    problem = the_problem(healthy)
    assert 'torch 2.9.1 is older than 2.10' in problem.what
    assert problem.mend.endswith('install --upgrade torch torchvision')


def test_extension_does_not_load(healthy):
    error = 'OSError: libtorch_cuda.so: cannot open shared object file'
    healthy['mmactive._ext'] = Outcome(error=error)
    assert f'mmactive._ext does not load: {error}' == the_problem(healthy).what


def test_no_cuda_kernels_on_a_gpu_machine(healthy):
    healthy['torch'].value['gpus'] = ['NVIDIA H200']
    problems = find_problems(healthy)
    assert len(problems) == 2
    for problem, name in zip(problems, ('mmcv._ext', 'mmactive._ext')):
        assert f'{name} has no CUDA kernels' in problem.what
        assert 'FORCE_CUDA=1' in problem.mend
    healthy['mmcv._ext'] = Outcome(dict(OPERATORS, cuda='13.0'))
    healthy['mmactive._ext'] = Outcome(True)
    assert find_problems(healthy) == []


def test_setuptools_without_pkg_resources(healthy, monkeypatch):
    monkeypatch.setattr(
        collect_env, 'is_installed', {'mmengine', 'mmcv'}.__contains__
    )
    assert 'install "setuptools<81"' in the_problem(healthy).mend


def test_opencv_without_libgl(healthy):
    error = 'ImportError: libGL.so.1: cannot open shared object file'
    healthy['imports'] = Outcome({'cv2': error, 'mmcv': error})
    problem = the_problem(healthy)
    assert 'libGL.so.1' in problem.what
    assert 'opencv-python-headless' in problem.mend


def test_undeclared_dependency(healthy):
    error = "ModuleNotFoundError: No module named 'ftfy'"
    healthy['imports'] = Outcome({'mmseg.models': error})
    assert the_problem(healthy).mend.endswith('pip install ftfy')


def test_probe():
    assert collect_env.probe('print("noise"); show([1])') == Outcome([1])
    failure = collect_env.probe('raise ValueError("of a kind")')
    assert failure == Outcome(error='ValueError: of a kind')
    crash = collect_env.probe('import os; os.abort()')
    assert crash == Outcome(error='Python crashed (SIGABRT)')


def test_build_info():
    """That of the library at hand, if there is one."""
    if not collect_env.EXTENSION.is_file():
        pytest.skip('mmactive._ext is not built')
    info = collect_env.read_build_info()
    assert info['torch'] == f'{dependencies.TORCH_WITH_KERNELS}+'
    assert set(info) == {'torch', 'headers', 'cuda', 'compiler'}


def run_diagnosis(path):
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(path), str(ROOT)]))
    command = [sys.executable, '-m', 'mmactive.utils.collect_env']
    return subprocess.run(
        command, env=env, cwd=path, capture_output=True, text=True
    )


def test_command_in_a_broken_environment(tmp_path):
    """It runs although ``import mmactive`` fails."""
    for name, text in (
        ('torch', 'raise ImportError("libtorch is gone")'),
        ('mmdet', '__version__ = "2.28.2"'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text(text)
    result = run_diagnosis(tmp_path)
    assert result.returncode == 1, result.stderr
    assert 'torch does not work: ImportError: libtorch' in result.stdout
    assert 'mmdet           2.28.2 (' in result.stdout
    assert result.stderr == ''


def test_command_here(tmp_path):
    result = run_diagnosis(tmp_path)
    assert result.returncode == ('To mend' in result.stdout), result.stderr
    for part in (sys.version.split()[0], torch.__version__, 'mmactive._ext'):
        assert part in result.stdout
