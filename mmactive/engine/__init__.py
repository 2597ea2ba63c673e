# Copyright (c) mmactive contributors. All rights reserved.
from .cpu_amp import CPUAmpOptimWrapper
from .flexible_runner import FlexibleRunner
from .hooks import CheckpointHook, FiniteLossHook, StopHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .offsets import OffsetStatisticsHook
from .runner import Runner

__all__ = [
    'CPUAmpOptimWrapper',
    'CheckpointHook',
    'FiniteLossHook',
    'FlexibleRunner',
    'LayerDecayOptimWrapperConstructor',
    'OffsetStatisticsHook',
    'Runner',
    'StopHook',
]
