# Copyright (c) mmactive contributors. All rights reserved.
"""Names of published networks, and conversion of their weights.

A file for each family holds its table of names, ``convert.py`` does the rest.
"""

from .convert import convert, revert

__all__ = ['convert', 'revert']
