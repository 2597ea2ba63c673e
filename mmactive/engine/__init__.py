# Copyright (c) mmactive contributors. All rights reserved.
from .cpu_amp import CPUAmpOptimWrapper
from .runner import Runner

__all__ = ['CPUAmpOptimWrapper', 'Runner']
