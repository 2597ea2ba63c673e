# Copyright (c) mmactive contributors. All rights reserved.
from .checkpoint_hook import CheckpointHook
from .finite_loss import FiniteLossHook
from .stop import StopHook

__all__ = ['CheckpointHook', 'FiniteLossHook', 'StopHook']
