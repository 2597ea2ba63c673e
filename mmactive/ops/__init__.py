# Copyright (c) mmactive contributors. All rights reserved.
"""The operators of the token mixers. Needs PyTorch alone."""

from .axial_deform_gather import (
    axial_deform_gather,
    axial_deform_gather_reference,
)
from .axial_shift import axial_shift, axial_shift_reference

__all__ = [
    'axial_deform_gather',
    'axial_deform_gather_reference',
    'axial_shift',
    'axial_shift_reference',
]
