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


@pytest.mark.parametrize(
    'page', ['operator', 'backbones', 'looking_at_offsets']
)
def test_code(page):
    """Runs what a page shows, from top to bottom."""
    text = (PAGES / f'{page}.md').read_text()
    blocks = re.findall(r'^```python\n(.*?)^```', text, re.M | re.S)
    assert blocks
    code = '\n'.join(blocks)
    if 'import timm' in code:
        pytest.importorskip('timm')
    # What a comment says of a line's value
    code = re.sub(
        r'^(offsets\[.*\.shape)\s+# (\([^)]*\)).*$',
        r'assert \1 == \2, \1',
        code,
        flags=re.M,
    )
    code = re.sub(
        r'^(\[tuple.*\])\n# (\[.*\])$',
        r'assert \1 == \2, \1',
        code,
        flags=re.M,
    )
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
