# Copyright (c) mmactive contributors. All rights reserved.
from ..utils.dependencies import import_hint

with import_hint():
    from .backbones import *  # noqa: F403
    from .backbones import __all__ as _backbones
    from .layers import ActiveTokenMixer

__all__ = ['ActiveTokenMixer', *_backbones]
