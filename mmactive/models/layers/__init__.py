# Copyright (c) mmactive contributors. All rights reserved.
# PyTorch's own, for code that has imported it from here.
from torch.nn import Linear

from .active_token_mixer import ActiveTokenMixer
from .mlp import MLP
from .patches import PatchEmbed, PatchMerging
from .reweighting import Reweighting
from .tokens import ConvNorm, LayerNorm2d, apply, channels_first

__all__ = [
    'MLP',
    'ActiveTokenMixer',
    'ConvNorm',
    'LayerNorm2d',
    'Linear',
    'PatchEmbed',
    'PatchMerging',
    'Reweighting',
    'apply',
    'channels_first',
]
