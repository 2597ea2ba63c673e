# Copyright (c) mmactive contributors. All rights reserved.
"""The ATM operator. Needs PyTorch alone."""

from .axial_deform_gather import (
    axial_deform_gather,
    axial_deform_gather_reference,
)

__all__ = [
    'axial_deform_gather',
    'axial_deform_gather_reference',
]
