# Copyright (c) mmactive contributors. All rights reserved.
"""Sphinx's settings: ``make docs`` builds these pages."""

import sys
from pathlib import Path

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
    'sphinx.ext.mathjax',
    'sphinx.ext.napoleon',
]
myst_enable_extensions = ['dollarmath', 'colon_fence']
myst_heading_anchors = 4
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
# What the libraries' base classes inherit is theirs to document.
autodoc_inherit_docstrings = False
nitpicky = False

html_theme = 'furo'
html_title = f'mmactive {release}'
exclude_patterns = ['_build']
