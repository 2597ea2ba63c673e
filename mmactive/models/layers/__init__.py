# Copyright (c) mmactive contributors. All rights reserved.
from .active_token_mixer import ActiveTokenMixer
from .mlp import MLP
from .patches import PatchEmbed, PatchMerging
from .reweighting import Reweighting
from .tokens import ConvNorm, apply, channels_first

__all__ = [
    'MLP',
    'ActiveTokenMixer',
    'ConvNorm',
    'PatchEmbed',
    'PatchMerging',
    'Reweighting',
    'apply',
    'channels_first',
]
