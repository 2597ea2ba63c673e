# Copyright (c) mmactive contributors. All rights reserved.
from ..utils.dependencies import import_hint

with import_hint():
    from .backbones import ActiveMLP
    from .layers import ActiveTokenMixer

__all__ = ['ActiveMLP', 'ActiveTokenMixer']
