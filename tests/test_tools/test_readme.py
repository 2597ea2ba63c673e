# Copyright (c) mmactive contributors. All rights reserved.
"""README's command lines are what its tools take."""

import os
import re
import runpy
import shlex
import sys

import pytest

from .conftest import ROOT

BLOCKS = re.findall(
    r'```bash\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL
)
COMMANDS = [
    words
    for block in BLOCKS
    for line in block.splitlines()
    if (words := shlex.split(line, comments=True))
    and any(word.startswith('tools/') for word in words)
]


def parse(tool, arguments, monkeypatch):
    """Parses arguments as a tool in Python does."""
    monkeypatch.setattr(sys, 'argv', [str(tool), *arguments])
    return runpy.run_path(str(tool))['parse_args']()


def test_all_are_found():
    tools = {word for words in COMMANDS for word in words if '/' in word}
    assert {'tools/train.py', 'tools/slurm_train.sh'} <= tools
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize('words', COMMANDS, ids=' '.join)
def test_command(words, tmp_path, start_process, monkeypatch):
    configs = [word for word in words if word.startswith('configs/')]
    assert all((ROOT / name).is_file() for name in configs)
    if words[0] == 'python':
        words = words[1:]
    tool = ROOT / words[0]
    assert tool.is_file()
    if tool.suffix == '.sh':
        # What the script would start instead of torchrun and srun
        for name in ('python', 'srun'):
            (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
            (tmp_path / name).chmod(0o755)
        out = start_process(
            *(tool, *words[1:]),
            PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}',
            PYTHON='python',
        )
        words = out.splitlines()
        scripts = [
            str(ROOT / f'tools/{name}.py') for name in ('train', 'test')
        ]
        (start,) = (i for i, word in enumerate(words) if word in scripts)
        tool, words = words[start], words[start:]
    args = parse(tool, words[1:], monkeypatch)
    if configs:
        assert [args.config] == configs
