# Copyright (c) mmactive contributors. All rights reserved.
"""Sphinx's settings: ``make docs`` builds these pages."""

import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import mmactive  # noqa: E402

project = 'mmactive'
author = 'mmactive contributors'
copyright = author
version = release = mmactive.__version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
]
myst_enable_extensions = ['dollarmath', 'colon_fence']
myst_heading_anchors = 4
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
# What the libraries' base classes inherit is theirs to document.
autodoc_inherit_docstrings = False
# `make links` follows what leads out of the pages; it needs a network.
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors = False  # GitHub makes them by scripts.
linkcheck_ignore = [
    r'https://arxiv\.org/',  # refuses programs
]
# A reference that leads nowhere is an error, but for the types of arguments,
# which are other projects'.
nitpicky = True
nitpick_ignore_regex = [
    ('py:class', r'(?!mmactive\.).*'),
    ('py:(obj|func|mod|meth|attr)', r'(torch|mmengine|mmcv|mmdet)\..*'),
]

html_theme = 'furo'
html_static_path = ['_static']
html_title = f'mmactive {release}'
exclude_patterns = ['_build']
html_math_renderer = 'mathml'


def write_math(translator, node) -> None:
    """Writes MathML, which browsers show without scripts or a network."""
    is_block = isinstance(node, nodes.math_block)
    # The number of an equation stands beside it.
    number = re.search(r'\\tag\{(\w+)\}', node.astext())
    text = re.sub(r'\\tag\{\w+\}', '', node.astext())
    math = tex2mathml(' '.join(text.split()), as_block=is_block)
    if is_block:
        number = f'({number[1]})' if number else ''
        math = f'<div class="equation">{math}<span>{number}</span></div>'
    translator.body.append(math)
    raise nodes.SkipNode


def setup(app) -> None:
    """Adds what Sphinx does not have."""
    renderer = (write_math, None)
    app.add_html_math_renderer('mathml', renderer, renderer)
    app.add_css_file('pages.css')
