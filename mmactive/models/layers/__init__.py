# Copyright (c) mmactive contributors. All rights reserved.
from .active_token_mixer import ActiveTokenMixer
from .mlp import MLP

__all__ = ['MLP', 'ActiveTokenMixer']
