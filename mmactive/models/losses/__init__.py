# Copyright (c) mmactive contributors. All rights reserved.
"""Losses of dense prediction.

They need mmseg, so that it is the configs which import them, by
``custom_imports = dict(imports=['mmactive', 'mmactive.models.losses'])``.
"""

from .cross_entropy_loss import CrossEntropyLoss

__all__ = ['CrossEntropyLoss']
