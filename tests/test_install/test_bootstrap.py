# Copyright (c) mmactive contributors. All rights reserved.
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bootstrap(tmp_path, monkeypatch):
    """The script, with a .venv and a cache in a folder of the test."""
    file = ROOT / 'tools' / 'dev' / 'bootstrap.py'
    spec = importlib.util.spec_from_file_location('bootstrap', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / '.venv').mkdir()
    monkeypatch.setattr(module, 'VENV', tmp_path / '.venv')
    monkeypatch.setattr(module, 'PYTHON', Path(sys.executable))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(sys, 'argv', ['bootstrap.py'])
    return module


@pytest.fixture
def steps(bootstrap, monkeypatch):
    """Notes the two parts of the set-up instead of running them."""
    notes = []
    monkeypatch.setattr(
        bootstrap,
        'install_dependencies',
        lambda *args: notes.append(', '.join(args)),
    )
    monkeypatch.setattr(
        bootstrap, 'install_package', lambda: notes.append('package')
    )
    monkeypatch.setattr(bootstrap, 'run', lambda *command, **env: None)
    return notes


def test_second_run_does_nothing(bootstrap, steps):
    bootstrap.main()
    assert steps == ['2.14.1, upstream, lite', 'package']
    bootstrap.main()
    assert len(steps) == 2


def test_other_settings_are_set_up(bootstrap, steps, monkeypatch):
    bootstrap.main()
    steps.clear()
    command = 'bootstrap.py --torch 2.10.0 --mmset onedl --mmcv compiled'
    monkeypatch.setattr(sys, 'argv', command.split())
    bootstrap.main()
    assert steps == ['2.10.0, onedl, compiled', 'package']


def test_changed_kernel_is_compiled(bootstrap, steps, monkeypatch):
    bootstrap.main()
    steps.clear()
    real = bootstrap.digest

    def digest(paths, *settings):
        of_package = any(path.name == 'setup.py' for path in paths)
        return real(paths, *settings) + 'changed' * of_package

    monkeypatch.setattr(bootstrap, 'digest', digest)
    bootstrap.main()
    assert steps == ['package']


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def test_interrupted_run_continues(bootstrap, steps, monkeypatch):
    for part in ('install_dependencies', 'install_package'):
        with monkeypatch.context() as patch:
            patch.setattr(bootstrap, part, interrupt)
            with pytest.raises(KeyboardInterrupt):
                bootstrap.main()
    bootstrap.main()
    assert steps == ['2.14.1, upstream, lite', 'package']


def test_digest(bootstrap, tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, 'ROOT', tmp_path)
    files = [tmp_path / 'a', tmp_path / 'b']
    for file in files:
        file.write_text('1')
    digest = bootstrap.digest(files, 'x')
    assert bootstrap.digest(reversed(files), 'x') == digest
    assert bootstrap.digest(files, 'y') != digest
    files[0].write_text('2')
    assert bootstrap.digest(files, 'x') != digest


@pytest.fixture
def torch_version(bootstrap, monkeypatch):
    """Puts an empty PyTorch in place, and sets its version."""
    real = bootstrap.ask

    def set_version(version):
        torch = (
            'import sys, types\n'
            'torch = sys.modules["torch"] = types.ModuleType("torch")\n'
            f'torch.__version__ = {version!r}\n'
        )
        monkeypatch.setattr(
            bootstrap, 'ask', lambda code, *args: real(torch + code, *args)
        )

    set_version('2.11.0')
    return set_version


def make_wheel(folder, text, version='2.1.0'):
    """A wheel of mmcv whose extension is a Python file."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f'mmcv-{version}-cp311-cp311-linux_x86_64.whl'
    with zipfile.ZipFile(wheel, 'w') as archive:
        archive.writestr('mmcv/__init__.py', '')
        archive.writestr('mmcv/_ext.py', text)
    return wheel


BROKEN = "raise ImportError('undefined symbol')"


def test_loads(bootstrap, torch_version, tmp_path):
    assert bootstrap.loads(make_wheel(tmp_path, ''))
    assert not bootstrap.loads(make_wheel(tmp_path, BROKEN))
    wheel = make_wheel(tmp_path, '')
    wheel.write_bytes(wheel.read_bytes()[:50])
    assert not bootstrap.loads(wheel)


@pytest.fixture
def compiler(bootstrap, torch_version, monkeypatch):
    """Notes what pip is asked to compile, and makes a wheel at once."""
    notes = []

    def pip(*args, **env):
        if args[0] == 'download':
            make_sources(Path(args[args.index('--dest') + 1]))
        else:
            setup = Path(args[-1], 'setup.py').read_text()
            notes.append((setup, [str(arg) for arg in args], env))
            make_wheel(Path(args[args.index('--wheel-dir') + 1]), '')

    monkeypatch.setattr(bootstrap, 'pip', pip)
    return notes


def make_sources(folder, version='2.1.0'):
    """A source distribution of mmcv, of which setup.py matters alone."""
    source = folder / f'mmcv-{version}'
    source.mkdir()
    (source / 'setup.py').write_text("args = ['-std=c++17']")
    shutil.make_archive(source, 'gztar', folder, source.name)
    shutil.rmtree(source)


def test_mmcv_is_compiled_once(bootstrap, compiler):
    wheel = bootstrap.get_mmcv_wheel('mmcv', {'MAX_JOBS': '2'}, 'cpu')
    ((setup, args, env),) = compiler
    assert setup == "args = ['-std=c++20']"
    for option in ('--no-build-isolation', '--no-cache-dir', '--no-deps'):
        assert option in args
    assert env == {'MMCV_WITH_OPS': '1', 'MAX_JOBS': '2'}
    assert wheel == bootstrap.get_mmcv_wheel('mmcv', {}, 'cpu')
    assert len(compiler) == 1
    assert list(wheel.parent.iterdir()) == [wheel]


def test_mmcv_is_compiled_for_each_torch_and_device(
    bootstrap, compiler, torch_version
):
    wheels = {bootstrap.get_mmcv_wheel('mmcv', {}, 'cpu')}
    wheels.add(bootstrap.get_mmcv_wheel('mmcv', {}, 'cuda-9.0'))
    torch_version('2.10.0+cpu')
    wheels.add(bootstrap.get_mmcv_wheel('mmcv', {}, 'cpu'))
    assert len(wheels) == len(compiler) == 3


def test_mmcv_that_does_not_load_is_compiled_again(bootstrap, compiler):
    wheel = bootstrap.get_mmcv_wheel('mmcv', {}, 'cpu')
    make_wheel(wheel.parent, BROKEN)
    assert bootstrap.get_mmcv_wheel('mmcv', {}, 'cpu') == wheel
    assert len(compiler) == 2
    assert bootstrap.loads(wheel)


def test_interrupted_compilation_leaves_no_wheel(
    bootstrap, compiler, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, 'loads', interrupt)
        with pytest.raises(KeyboardInterrupt):
            bootstrap.get_mmcv_wheel('mmcv', {}, 'cpu')
    bootstrap.get_mmcv_wheel('mmcv', {}, 'cpu')
    assert len(compiler) == 2


def test_compiler_settings(bootstrap, monkeypatch):
    monkeypatch.delenv('FORCE_CUDA', raising=False)
    monkeypatch.setenv('MAX_JOBS', '3')
    found = dict(torch='/site/torch', toolkit='/cuda', archs=[])

    def settings():
        import json

        monkeypatch.setattr(bootstrap, 'ask', lambda code: json.dumps(found))
        return bootstrap.compiler_settings()

    assert settings() == ({'MAX_JOBS': '3'}, 'cpu')
    found['archs'] = ['8.0', '9.0']
    env, device = settings()
    assert device == 'cuda-8.0-9.0'
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '9.0+PTX')
    assert settings()[1] == 'cuda-9.0+PTX'
    found['toolkit'] = None
    env, device = settings()
    assert device == 'cpu'
    assert env['CUDA_VISIBLE_DEVICES'] == ''


@pytest.fixture
def pip(bootstrap, monkeypatch):
    """Notes what pip is asked for, and finds nothing installed."""
    calls = []
    monkeypatch.setattr(
        bootstrap, 'pip', lambda *args, **env: calls.append((*args, env))
    )
    monkeypatch.setattr(bootstrap, 'ask', lambda code, *args: '')
    return calls


@pytest.mark.parametrize(
    ('mmcv', 'requirements', 'others'),
    [
        (
            'mmcv-lite',
            'mminstall.txt',
            {'mmcv', 'onedl-mmcv', 'onedl-mmengine'},
        ),
        ('onedl-mmcv', 'mminstall_onedl.txt', {'mmcv', 'mmcv-lite', 'mmdet'}),
    ],
)
def test_others_are_removed(
    bootstrap, pip, monkeypatch, mmcv, requirements, others
):
    """They install the same modules."""
    monkeypatch.setattr(bootstrap, 'ask', lambda code, *names: ' '.join(names))
    bootstrap.remove_others(mmcv, requirements)
    ((*command, _),) = pip
    assert command[:2] == ['uninstall', '--yes']
    assert others <= set(command)
    assert mmcv not in command
    pip.clear()
    monkeypatch.setattr(bootstrap, 'ask', lambda code, *names: '')
    bootstrap.remove_others(mmcv, requirements)
    assert pip == []


def is_mmcv(requirement):
    return re.match(r'(onedl-)?mmcv', str(requirement)) is not None


@pytest.mark.parametrize('mmset', ['upstream', 'onedl'])
def test_all_is_installed_at_once(bootstrap, pip, mmset):
    """Without mmcv's operators, and so without PyTorch before it."""
    bootstrap.install_dependencies('2.14.1', mmset, 'lite')
    _, (*command, _) = pip
    lite = {'upstream': 'mmcv-lite', 'onedl': 'onedl-mmcv'}[mmset]
    assert {'install', 'torch==2.14.1', 'torchvision', lite} <= set(command)
    assert [part for part in command if is_mmcv(part)] == [lite]


@pytest.mark.parametrize('mmset', ['upstream', 'onedl'])
def test_compiled_mmcv_takes_the_place_of_another(
    bootstrap, pip, monkeypatch, mmset, tmp_path
):
    wheel = tmp_path / 'compiled.whl'
    monkeypatch.setattr(
        bootstrap, 'compiler_settings', lambda: ({'MAX_JOBS': '2'}, 'cpu')
    )
    monkeypatch.setattr(bootstrap, 'get_mmcv_wheel', lambda *args: wheel)
    bootstrap.install_dependencies('2.14.1', mmset, 'compiled')
    _, first, removal, (*command, _) = pip
    assert 'torch==2.14.1' in first
    assert removal[-2] == {'upstream': 'mmcv', 'onedl': 'onedl-mmcv'}[mmset]
    assert wheel in command
    assert not any(map(is_mmcv, command))


def test_without_compiler(bootstrap, pip, monkeypatch, tmp_path, capsys):
    """The operator runs as PyTorch code, and that is said."""
    monkeypatch.setattr(
        bootstrap, 'compiler_settings', lambda: ({'MAX_JOBS': '2'}, 'cpu')
    )
    for name in ('CXX', 'MMACTIVE_WITH_OPS'):
        monkeypatch.delenv(name, raising=False)
    bootstrap.install_package()
    assert 'MMACTIVE_WITH_OPS' not in pip[0][-1]
    monkeypatch.setenv('PATH', str(tmp_path))
    bootstrap.install_package()
    assert pip[1][-1]['MMACTIVE_WITH_OPS'] == '0'
    assert 'no C++ compiler' in capsys.readouterr().out


def test_old_python_is_named(bootstrap, monkeypatch):
    monkeypatch.setattr(sys, 'version_info', (3, 9, 18, 'final', 0))
    with pytest.raises(SystemExit, match='Python 3.10 or newer'):
        bootstrap.main()


@pytest.mark.parametrize('target', ['quickstart', 'test', 'lint'])
def test_targets_set_up_first(target):
    # Where make runs the tests, it hands its own options on.
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith('MAKE') and name != 'MFLAGS'
    }
    result = subprocess.run(
        [
            *('make', '--dry-run', target),
            *('TORCH=2.10.0', 'MMSET=onedl', 'MMCV=compiled'),
        ],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, *_ = result.stdout.replace('\\\n', '').splitlines()
    assert first.split()[1:] == [
        *('tools/dev/bootstrap.py', '--torch', '2.10.0'),
        *('--mmset', 'onedl', '--mmcv', 'compiled'),
    ]
    assert '.venv/bin' in second


def test_ci_runs_the_tests(tmp_path):
    """From any folder, and it fails if they do."""
    make = tmp_path / 'make'
    make.write_text('#!/bin/sh\necho "$PWD: make $*"\nexit 3\n')
    make.chmod(0o755)
    result = subprocess.run(
        ['bash', ROOT / '.ci' / 'run'],
        cwd=tmp_path,
        env=dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}'),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert result.stdout == f'{ROOT}: make test\n'
    assert result.returncode != 0
