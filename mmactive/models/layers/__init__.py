# Copyright (c) mmactive contributors. All rights reserved.
from .active_token_mixer import ActiveTokenMixer
from .linear import Linear
from .mlp import MLP

__all__ = ['MLP', 'ActiveTokenMixer', 'Linear']
