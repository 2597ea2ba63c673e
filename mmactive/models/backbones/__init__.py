# Copyright (c) mmactive contributors. All rights reserved.
from .activemlp import ActiveMLP
from .asmlp import ASMLP, AxialShiftMixer
from .cpvt import CPVT, SelfAttention
from .cyclemlp import CycleMixer, CycleMLP
from .eamlp import EAMLP, ExternalAttention
from .gfnet import GFNet, GlobalFilter
from .morphmlp import MorphMixer, MorphMLP
from .p2t import P2T, PoolingAttention
from .s2mlp import S2MLP, Affine, S2Mixer
from .shiftvit import ShiftMixer, ShiftViT
from .vip import PermuteMixer, ViP
from .wavemlp import WaveMixer, WaveMLP
from .wrappers import ResMLP

__all__ = [
    'ASMLP',
    'CPVT',
    'EAMLP',
    'P2T',
    'S2MLP',
    'ActiveMLP',
    'Affine',
    'AxialShiftMixer',
    'CycleMLP',
    'CycleMixer',
    'ExternalAttention',
    'GFNet',
    'GlobalFilter',
    'MorphMLP',
    'MorphMixer',
    'PermuteMixer',
    'PoolingAttention',
    'ResMLP',
    'S2Mixer',
    'SelfAttention',
    'ShiftMixer',
    'ShiftViT',
    'ViP',
    'WaveMLP',
    'WaveMixer',
]
