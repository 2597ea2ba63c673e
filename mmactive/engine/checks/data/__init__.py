# Copyright (c) mmactive contributors. All rights reserved.
"""Checks of data sets, by what is checked.

Annotation files are checked when they are loaded, before the first iteration,
images and label maps when they are used.
``tools/analysis_tools/check_data.py`` uses all of them.
"""

from .classes import compare_classes
from .datasets import (
    check_dataset,
    check_evaluator,
    check_images,
    check_same_classes,
    iter_leaves,
)
from .images import CheckedPipeline
from .loading import checked_loading

__all__ = [
    'CheckedPipeline',
    'check_dataset',
    'check_evaluator',
    'check_images',
    'check_same_classes',
    'checked_loading',
    'compare_classes',
    'iter_leaves',
]
