# Copyright (c) mmactive contributors. All rights reserved.
"""The documentation builds without a warning, and its code runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / 'docs' / 'en'


def test_pages_build_and_links_lead_somewhere(tmp_path):
    pytest.importorskip('sphinx')
    pytest.importorskip('myst_parser')
    command = [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q']
    result = subprocess.run(
        [*command, PAGES, tmp_path], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    html = (tmp_path / 'operator.html').read_text()
    assert 'axial_deform_gather' in html


def test_links_of_the_readme():
    text = (ROOT / 'README.md').read_text()
    links = re.findall(r'\]\((?!https?:)([^)#]+)', text)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


# Messages of PyTorch, pip and the libraries
THEIRS = (
    "No module named 'mmcv._ext'",
    'undefined symbol: ... c10 ...',
    'Unsupported global: ... HistoryBuffer',
    'CUDA out of memory',
    'MaskRCNN is not in the mmactive::model registry',
)


def test_questions_quote_messages_that_there_are():
    code = ''.join(
        path.read_text() for path in (ROOT / 'mmactive').rglob('*.py')
    )
    code = re.sub(r"'\n\s*f?'", '', code)  # strings over several lines
    headings = re.findall(
        r'^\*\*`(.*?)`.*\*\*$', (PAGES / 'faq.md').read_text(), re.M
    )
    assert len(headings) > 15
    for heading in headings:
        if heading in THEIRS:
            continue
        # Numbers and names differ.
        for part in re.split(r'\b[NM]\b(?!,)|\.\.\.|: it is', heading):
            assert part.strip() in code, heading
