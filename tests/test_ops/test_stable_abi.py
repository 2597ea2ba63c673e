# Copyright (c) mmactive contributors. All rights reserved.
"""One build of the extension serves every PyTorch from 2.10 on."""

import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
import torch

import mmactive
from mmactive.ops import extension

LIBRARY = Path(mmactive.__file__).with_name('_ext.so')
SOURCES = Path(__file__).parents[2] / 'mmactive' / 'ops' / 'csrc'

# By the versions of the symbols: C library, C++ library and compiler runtime.
SYSTEM = {'GLIBC': (2, 28), 'GLIBCXX': (3, 4, 24), 'CXXABI': (1, 3, 11)}
STABLE_ABI = re.compile(r'(aoti_)?torch_\w+')
CUDA_RUNTIME = re.compile(r'(__)?cuda[A-Z]\w+')
# Looked up by the linker's start-up code, if they exist.
OPTIONAL = {
    '__gmon_start__',
    '_ITM_deregisterTMCloneTable',
    '_ITM_registerTMCloneTable',
}


@pytest.fixture(scope='module')
def undefined():
    """What the library expects others to define: names and versions."""
    if not LIBRARY.is_file() or shutil.which('nm') is None:
        pytest.skip('needs the built extension and nm')
    lines = subprocess.check_output(
        ['nm', '--dynamic', '--undefined-only', LIBRARY], text=True
    ).splitlines()
    return [line.split()[-1].partition('@')[::2] for line in lines]


def test_only_the_stable_abi_is_called(undefined):
    names = {name for name, version in undefined if not version} - OPTIONAL
    with_cuda = b';cuda=none' not in LIBRARY.read_bytes()
    others = {
        name
        for name in names
        if not STABLE_ABI.fullmatch(name)
        and not (with_cuda and CUDA_RUNTIME.fullmatch(name))
    }
    assert not others
    assert {'aoti_torch_library_init_impl', 'torch_parallel_for'} <= names


def test_loads_where_pytorch_loads(undefined):
    """PyTorch's wheels are made for glibc 2.28 and the libstdc++ of GCC 8."""
    for name, version in undefined:
        library, _, number = version.lstrip('@').partition('_')
        if number and library != 'GCC':
            newest = SYSTEM[library]
            assert tuple(map(int, number.split('.'))) <= newest, name


def test_sources_include_the_stable_abi_alone():
    sources = [
        path
        for path in SOURCES.rglob('*')
        if path.suffix in ('.cpp', '.cu', '.h')
    ]
    assert len(sources) > 5
    for path in sources:
        text = path.read_text()
        for header in re.findall(r'#include <(torch/[^>]+)>', text):
            assert header.startswith(('torch/csrc/stable', 'torch/headeronly'))
        assert not re.search(r'#include <(ATen|c10)|\b(at|c10)::', text), path


@pytest.mark.parametrize('version', ['2.4.1', '2.9.1+cu128'])
def test_older_torch_runs_the_reference(monkeypatch, version):
    monkeypatch.setattr(torch, '__version__', version)
    with pytest.warns(UserWarning, match='need torch>=2.10') as caught:
        assert not extension.load_extension.__wrapped__()
    assert len(caught) == 1
    assert f'torch {version} is installed' in str(caught[0].message)


@pytest.mark.skipif(not LIBRARY.is_file(), reason='needs the extension')
@pytest.mark.parametrize('version', ['2.10.0', '2.14.1', '2.30.0.dev1+cpu'])
def test_newer_torch_runs_the_kernels(monkeypatch, version):
    monkeypatch.setattr(torch, '__version__', version)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert extension.load_extension.__wrapped__()
