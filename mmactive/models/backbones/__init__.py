# Copyright (c) mmactive contributors. All rights reserved.
from .activemlp import ActiveMLP
from .asmlp import ASMLP, AxialShiftMixer
from .cyclemlp import CycleMixer, CycleMLP
from .s2mlp import S2MLP, Affine, S2Mixer
from .shiftvit import ShiftMixer, ShiftViT
from .wrappers import ResMLP

__all__ = [
    'ASMLP',
    'S2MLP',
    'ActiveMLP',
    'Affine',
    'AxialShiftMixer',
    'CycleMLP',
    'CycleMixer',
    'ResMLP',
    'S2Mixer',
    'ShiftMixer',
    'ShiftViT',
]
