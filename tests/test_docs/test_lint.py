# Copyright (c) mmactive contributors. All rights reserved.
"""What `make lint` runs beside ruff finds nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command):
    result = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout


def test_types(tmp_path):
    pytest.importorskip('mypy')
    run(sys.executable, '-m', 'mypy', '--cache-dir', tmp_path)


def test_spelling():
    pytest.importorskip('codespell_lib')
    folders = ('mmactive', 'demo', 'tools', 'tests', 'configs', 'docs')
    files = ROOT.glob('*.md')
    run(sys.executable, '-m', 'codespell_lib', *folders, *files)


def test_format_of_the_kernels():
    clang_format = pytest.importorskip('clang_format')
    sources = [
        path
        for folder in ('mmactive/ops/csrc', 'tests/test_ops')
        for path in (ROOT / folder).rglob('*')
        if path.suffix in ('.cpp', '.h', '.cu')
    ]
    assert sources
    program = clang_format.get_executable('clang-format')
    run(program, '--dry-run', '--Werror', *sources)
