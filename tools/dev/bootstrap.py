# Copyright (c) mmactive contributors. All rights reserved.
"""Sets up .venv with everything that training and testing need.

``make quickstart`` and ``make test`` run this first. It needs Python's
standard library alone, continues where an interrupted run stopped, and does
nothing if nothing has changed.

Nothing but mmactive is compiled, and that only where there is a compiler: mmcv
is installed without its operators, in whose place mmactive puts others. With
``--mmcv compiled`` it is compiled. Its wheel is kept in
``~/.cache/mmactive/wheels`` under the PyTorch, the Python and the device that
it was compiled for. pip's own cache goes by mmcv's version alone, and would
hand out a wheel that fails with "undefined symbol" under the next PyTorch.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'requirements'
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'

# For each set and build of mmcv: its distribution and the set's requirements.
# All distributions of mmcv, and both sets, install the same modules, so that
# one goes before another comes.
MM_SETS = {
    'upstream': ({'lite': 'mmcv-lite', 'compiled': 'mmcv'}, 'mminstall.txt'),
    'onedl': (
        {'lite': 'onedl-mmcv', 'compiled': 'onedl-mmcv'},
        'mminstall_onedl.txt',
    ),
}


def step(text):
    print(f'\n==> {text}', flush=True)


def run(*command, **env):
    """Shows and runs a command; the set-up stops where one fails."""
    command = [str(part) for part in command]
    settings = [f'{name}={shlex.quote(env[name])}' for name in env]
    print('  $', *settings, shlex.join(command), flush=True)
    subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, check=True)


def pip(*args, **env):
    run(PYTHON, '-m', 'pip', '--disable-pip-version-check', *args, **env)


def ask(code, *args):
    """Returns what Python code prints in .venv, or None if it fails."""
    result = subprocess.run(
        [PYTHON, '-c', code, *args],
        cwd=VENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return result.stdout.strip() if result.returncode == 0 else None


def digest(paths, *settings):
    """Hashes what a part of the set-up depends on."""
    result = hashlib.sha256(json.dumps(settings).encode())
    for path in sorted(paths):
        result.update(f'{path.relative_to(ROOT)}\n'.encode())
        result.update(path.read_bytes())
    return result.hexdigest()


def make_venv():
    """Creates .venv, anew if it is broken or of another Python version."""
    version = '{}.{}'.format(*sys.version_info)
    if PYTHON.exists():
        code = 'import sys, pip; print("{}.{}".format(*sys.version_info))'
        if ask(code) == version:
            return
    step(f'Creating .venv with Python {version}')
    try:
        run(sys.executable, '-m', 'venv', '--clear', VENV)
    except subprocess.CalledProcessError:
        sys.exit(
            f'{sys.executable} cannot create a virtual environment. Install '
            'its venv module (on Debian and Ubuntu: python3-venv) or name '
            'another Python, as in `make PYTHON=python3.12 ...`.'
        )


def remove_others(mmcv, requirements):
    """Uninstalls packages that the chosen ones take the place of."""
    names = set()
    for distributions, file in MM_SETS.values():
        names.update(distributions.values())
        if file != requirements:
            text = (REQUIREMENTS / file).read_text()
            names.update(
                re.findall(r'^(?:onedl-)?mm[\w-]+', text, re.MULTILINE)
            )
    code = (
        'import sys; from importlib.metadata import distributions\n'
        'names = {str(d.metadata["Name"]).lower() for d in distributions()}\n'
        'print(*names.intersection(sys.argv[1:]))'
    )
    found = ask(code, *sorted(names - {mmcv})).split()
    if found:
        step(f'Removing {", ".join(found)}')
        pip('uninstall', '--yes', *found)


def compiler_settings():
    """Finds out how to compile here.

    Returns:
        tuple[dict, str]: Environment variables for the compilation and a name
        for the device that the result is for.
    """
    code = (
        'import json, torch; from torch.utils import cpp_extension\n'
        'gpus = range(torch.cuda.device_count())\n'
        'print(json.dumps(dict(\n'
        '    torch=torch.__path__[0], toolkit=cpp_extension.CUDA_HOME,\n'
        '    archs=sorted({"%d.%d" % torch.cuda.get_device_capability(gpu)\n'
        '                  for gpu in gpus}))))'
    )
    found = json.loads(ask(code))
    cores = len(os.sched_getaffinity(0))
    env = {'MAX_JOBS': os.getenv('MAX_JOBS', str(cores))}
    if not found['archs'] and os.getenv('FORCE_CUDA') != '1':
        return env, 'cpu'
    if found['toolkit'] is None:
        print('  There is no nvcc: operators are compiled for the CPU only.')
        return {**env, 'FORCE_CUDA': '0', 'CUDA_VISIBLE_DEVICES': ''}, 'cpu'
    if not Path(found['toolkit'], 'include', 'cusparse.h').exists():
        # nvcc alone lacks the headers of CUDA's libraries. They come with the
        # libraries that PyTorch's wheel depends on.
        headers = Path(found['torch']).parent.glob('nvidia/*/include')
        paths = [*map(str, headers), os.getenv('CPATH', '')]
        env['CPATH'] = os.pathsep.join(filter(None, paths))
    archs = os.getenv('TORCH_CUDA_ARCH_LIST') or ' '.join(found['archs'])
    return env, re.sub(r'[^\w.+]+', '-', f'cuda {archs}')


def get_mmcv_wheel(name, env, device):
    """Returns a wheel of mmcv that loads into the PyTorch of .venv."""
    constraints = (REQUIREMENTS / 'constraints.txt').read_text()
    version = re.search(rf'^{name}==(\S+)', constraints, re.MULTILINE)[1]
    build = ask(
        'import sys, sysconfig, torch\n'
        'print("torch%s-cp%d%d-%s" % (torch.__version__,'
        ' *sys.version_info[:2], sysconfig.get_platform()))'
    )
    cache = Path(os.getenv('XDG_CACHE_HOME') or Path.home() / '.cache')
    folder = cache / 'mmactive' / 'wheels' / f'{build}-{device}'
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in folder.glob(f'{name.replace("-", "_")}-{version}-*.whl'):
        if loads(wheel):
            return wheel
        print(f'  {wheel} does not load.')

    step(f'Compiling {name} {version}: about 10 minutes on 2 cores, once')
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pip(
            *('download', '--no-deps', '--no-build-isolation', '--no-binary'),
            *(name, '--dest', scratch, f'{name}=={version}'),
        )
        (archive,) = Path(scratch).glob('*.tar.gz')
        shutil.unpack_archive(archive, scratch)
        (setup,) = Path(scratch).glob('*/setup.py')
        # PyTorch's headers have become C++20 since.
        setup.write_text(setup.read_text().replace('c++17', 'c++20'))
        pip(
            *('wheel', '--no-deps', '--no-build-isolation', '--no-cache-dir'),
            *('--wheel-dir', scratch, setup.parent),
            MMCV_WITH_OPS='1',
            **env,
        )
        (wheel,) = Path(scratch).glob('*.whl')
        if not loads(wheel):
            sys.exit(f'{name} was compiled, but its mmcv._ext does not load.')
        return wheel.replace(folder / wheel.name)


def loads(wheel):
    """Tells whether the mmcv._ext inside of a wheel can be imported."""
    code = 'import sys, torch; sys.path.insert(0, sys.argv[1]); import _ext'
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.startswith('mmcv/_ext.'):
                        file = Path(scratch, Path(name).name)
                        file.write_bytes(archive.read(name))
        except zipfile.BadZipFile:
            return False
        return ask(code, scratch) is not None


def compile_mmcv(name, torch):
    """Returns a wheel of mmcv, compiled for a PyTorch that is put in place."""
    step(f'Installing PyTorch {torch} and the build tools')
    pip('install', f'torch=={torch}', '-r', REQUIREMENTS / 'build.txt')
    env, device = compiler_settings()
    step(f'Looking for a {name} compiled for this PyTorch ({device})')
    wheel = get_mmcv_wheel(name, env, device)
    code = (
        'import sys; from importlib.metadata import distribution\n'
        'print(distribution(sys.argv[1]).read_text("direct_url.json"))'
    )
    if wheel.as_uri() not in (ask(code, name) or ''):
        # pip would keep a build of the same version from elsewhere.
        pip('uninstall', '--yes', name)
    return wheel


def install_dependencies(torch, mmset, mmcv):
    distributions, requirements = MM_SETS[mmset]
    pip('install', '--upgrade', 'pip')
    remove_others(distributions[mmcv], requirements)
    wanted = [f'torch=={torch}']
    for line in (REQUIREMENTS / requirements).read_text().splitlines():
        if not line.startswith(('#', distributions['lite'])):
            wanted.append(line)
    if mmcv == 'compiled':
        wanted.append(compile_mmcv(distributions[mmcv], torch))
    else:
        wanted.append(distributions[mmcv])

    step(f'Installing PyTorch {torch} and the other packages')
    names = ('build', 'runtime', 'optional', 'tests', 'docs')
    names = [f'{name}.txt' for name in names]
    options = [part for name in names for part in ('-r', REQUIREMENTS / name)]
    options += ['-c', REQUIREMENTS / 'constraints.txt']
    # Python compiles to bytecode what it imports. pip would take most of a
    # minute to compile everything.
    pip('install', '--no-compile', *wanted, *options)
    if ask('import cv2') is None:
        step('Installing OpenCV without windows: this machine has no libGL')
        pip('uninstall', '--yes', 'opencv-python', 'opencv-python-headless')
        pip('install', 'opencv-python-headless')


def find_compiler():
    """Returns the path of the C++ compiler, None if there is none."""
    return shutil.which(shlex.split(os.getenv('CXX') or 'c++')[0])


def install_package():
    env, _ = compiler_settings()
    if find_compiler() or os.getenv('MMACTIVE_WITH_OPS') == '0':
        step('Compiling and installing mmactive')
    else:
        step(
            'Installing mmactive. There is no C++ compiler, so that it runs '
            'on PyTorch code: correct, but slower'
        )
        env['MMACTIVE_WITH_OPS'] = '0'
    args = ('--no-build-isolation', '--no-deps', '--editable', ROOT)
    pip('install', *args, **env)


def run_part(name, inputs, function):
    """Runs a part of the set-up unless it is done and nothing has changed.

    What is interrupted leaves no stamp and is done again by the next run.

    Returns:
        bool: Whether it was run.
    """
    stamp = VENV / f'{name}.stamp'
    if stamp.exists() and stamp.read_text() == inputs:
        return False
    stamp.unlink(missing_ok=True)
    function()
    stamp.write_text(inputs)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--torch', default='2.14.1', help='its version')
    parser.add_argument('--mmset', default='upstream', choices=MM_SETS)
    parser.add_argument('--mmcv', default='lite', choices=['lite', 'compiled'])
    args = parser.parse_args()
    if sys.version_info < (3, 10):
        sys.exit(
            f'PyTorch {args.torch} needs Python 3.10 or newer, but '
            f'{sys.executable} is {sys.version.split()[0]}. Name another one, '
            'as in `make PYTHON=python3.12 ...`.'
        )

    make_venv()
    names = ('FORCE_CUDA', 'TORCH_CUDA_ARCH_LIST', 'MMACTIVE_WITH_OPS')
    settings = [vars(args), [os.getenv(name) for name in names]]
    script = Path(__file__).resolve()
    dependencies = digest([script, *REQUIREMENTS.glob('*.txt')], *settings)
    sources = [ROOT / 'setup.py', ROOT / 'pyproject.toml']
    sources += (ROOT / 'mmactive' / 'ops' / 'csrc').rglob('*.*')
    package = digest(sources, dependencies, str(ROOT), find_compiler())

    run_part(
        'dependencies',
        dependencies,
        lambda: install_dependencies(args.torch, args.mmset, args.mmcv),
    )
    if run_part('package', package, install_package):
        step('Looking at the result')
        try:
            run(PYTHON, '-m', 'mmactive.utils.collect_env')
        except subprocess.CalledProcessError:
            print('\nThis may do for now; the list above tells what to mend.')


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('\nInterrupted. Run it again to continue.')
    except subprocess.CalledProcessError as error:
        sys.exit(
            f'\n`{shlex.join(error.cmd)}` failed with exit code '
            f'{error.returncode}. Once the reason above is mended, run it '
            'again to continue.'
        )
