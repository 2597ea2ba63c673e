# Copyright (c) mmactive contributors. All rights reserved.
from .active_token_mixer import ActiveTokenMixer
from .linear import Linear
from .mlp import MLP
from .patches import PatchEmbed, PatchMerging
from .reweighting import Reweighting
from .tokens import ConvNorm, TokenConv2d, apply_norm, channels_first

__all__ = [
    'MLP',
    'ActiveTokenMixer',
    'ConvNorm',
    'Linear',
    'PatchEmbed',
    'PatchMerging',
    'Reweighting',
    'TokenConv2d',
    'apply_norm',
    'channels_first',
]
