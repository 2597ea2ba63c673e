# Copyright (c) mmactive contributors. All rights reserved.
"""Tests one wheel on several versions of PyTorch, and writes a table of it.

``make wheel``, and then::

    python tools/dev/test_versions.py 2.10.0 2.14.1

Each version gets an environment of its own (6 GB, one after the other, deleted
afterwards) with the PyTorch, the torchvision that takes it, if there is one
yet, OpenMMLab's packages and the wheel. The operators' tests run in it,
and with a torchvision the backbone's; they import mmactive from the wheel.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / 'tests'
DOCUMENT = ROOT / 'docs' / 'en' / 'versions.md'
BEGIN, END = '<!-- begin of the table -->', '<!-- end of the table -->'

REQUIREMENTS = ('hypothesis', 'pytest', 'setuptools<81')
# That of PyTorch 2.4, the oldest here; those of long ago take any PyTorch.
TORCHVISION = 'torchvision>=0.19'
OPENMMLAB = ('mmcv-lite', 'mmengine', 'mmpretrain')
CONSTRAINTS = ROOT / 'requirements' / 'constraints.txt'
# Those of the CUDA kernels compile what they test.
OPERATORS = sorted(
    path
    for path in (TESTS / 'test_ops').glob('test_*.py')
    if not path.stem.startswith('test_cuda')
)
BACKBONE = [TESTS / 'test_models' / 'test_activemlp.py']

COLUMNS = ('PyTorch', 'torchvision', 'Kernels', 'Operators', 'Backbone')

# What runs there, of the wheel and not of a source folder.
KERNELS = """
import sys, torch, mmactive.ops
assert mmactive.__file__.startswith(sys.prefix), mmactive.__file__
has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
loads = has_kernel('mmactive::axial_deform_gather', 'CPU')
print('load' if loads else 'PyTorch reference')
"""
NOT_RUN = 'not run'


def run(*command, cwd=None):
    """Returns the output; raises CalledProcessError if the command fails."""
    print('$', *command, flush=True)
    # Of the parent, only what pip is told.
    env = {k: v for k, v in os.environ.items() if not k.startswith('PYTHON')}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ).stdout


def install_torch(python, version):
    """Installs PyTorch, with the newest torchvision that takes it.

    Returns:
        str | None: The version of torchvision, if there is one.
    """
    pip = (python, '-m', 'pip', 'install', '--quiet')
    try:
        run(*pip, f'torch=={version}', TORCHVISION)
    except subprocess.CalledProcessError as error:
        if 'conflicting dependencies' not in error.stdout:
            raise
        run(*pip, f'torch=={version}')
        return None
    code = 'import torchvision; print(torchvision.__version__)'
    return run(python, '-c', code).split()[-1]


def run_tests(python, files, folder):
    """Returns what pytest counts, such as '300 passed, 2 skipped'."""
    command = (python, '-m', 'pytest', '-q', '-m', 'not slow and not cuda')
    config = ('-c', ROOT / 'pyproject.toml', '--rootdir', ROOT)
    # Not of the source folder, which `-m pytest` would find there.
    try:
        output = run(
            *command, *config, '-p', 'no:cacheprovider', *files, cwd=folder
        )
    except subprocess.CalledProcessError as error:
        output = error.stdout
        print(output[-5000:], flush=True)
    last = output.strip().splitlines()[-1]
    counts = re.findall(r'\d+ (?:passed|failed|skipped|errors?)', last)
    return ', '.join(counts) or last


def test_version(version, wheel, folder):
    """Tests the wheel on one version of PyTorch.

    Returns:
        dict: The row of the table.
    """
    row = dict.fromkeys(COLUMNS, NOT_RUN)
    row['PyTorch'] = version
    venv.create(folder / 'venv', with_pip=True)
    python = folder / 'venv' / 'bin' / 'python'
    pip = (python, '-m', 'pip', 'install', '--quiet')
    try:
        torchvision = install_torch(python, version)
        packages = REQUIREMENTS + (OPENMMLAB if torchvision else ())
        run(*pip, wheel, *packages, f'torch=={version}', '-c', CONSTRAINTS)
    except subprocess.CalledProcessError as error:
        print(error.stdout, flush=True)
        row['Kernels'] = 'cannot be installed here: ' + last_error(error)
        return row
    row['torchvision'] = torchvision or 'none yet'
    output = run(python, '-c', KERNELS, cwd=folder)
    row['Kernels'] = output.splitlines()[-1]
    row['Operators'] = run_tests(python, OPERATORS, folder)
    if torchvision:
        row['Backbone'] = run_tests(python, BACKBONE, folder)
    return row


def last_error(error):
    lines = [line for line in error.stdout.splitlines() if 'ERROR' in line]
    return lines[-1].partition('ERROR: ')[2] if lines else 'see the output'


def describe_processor():
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.machine()


def format_table(rows, wheel):
    """The table in Markdown, with what it was made on."""
    lines = [
        f'`{wheel.name}`, Python {platform.python_version()}, '
        f'{os.cpu_count()} cores of an {describe_processor()}:',
        '',
        '| ' + ' | '.join(COLUMNS) + ' |',
        '| ' + ' | '.join('---' for _ in COLUMNS) + ' |',
    ]
    lines += ['| ' + ' | '.join(row.values()) + ' |' for row in rows]
    return '\n'.join(lines)


def write_table(table):
    """Replaces the table in the document."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f'{before}{BEGIN}\n{table}\n{END}{after}')


def parse_args():
    parser = argparse.ArgumentParser(
        description='Test one wheel on several versions of PyTorch.'
    )
    parser.add_argument('versions', nargs='+', help='such as 2.10.0')
    parser.add_argument(
        '--wheel', type=Path, help='default: the newest in dist/'
    )
    parser.add_argument(
        '--write',
        action='store_true',
        help=f'put the table into {DOCUMENT.relative_to(ROOT)}',
    )
    args = parser.parse_args()
    if args.wheel is None:
        wheels = sorted(
            (ROOT / 'dist').glob('mmactive-*.whl'),
            key=lambda path: path.stat().st_mtime,
        )
        if not wheels:
            parser.error('there is no wheel in dist/: run `make wheel`')
        args.wheel = wheels[-1]
    elif not args.wheel.is_file():
        parser.error(f'--wheel {args.wheel} does not exist')
    args.wheel = args.wheel.resolve()
    return args


def main():
    args = parse_args()
    rows = []
    for version in args.versions:
        with tempfile.TemporaryDirectory(prefix='mmactive-') as folder:
            rows.append(test_version(version, args.wheel, Path(folder)))
        table = format_table(rows, args.wheel)
        print(table, flush=True)
        if args.write:
            write_table(table)
    failed = any('failed' in str(row) or 'error' in str(row) for row in rows)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
