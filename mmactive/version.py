# Copyright (c) mmactive contributors. All rights reserved.
"""The version of mmactive, read by setup.py and at run time."""

__version__ = '0.1.0'
