# Copyright (c) mmactive contributors. All rights reserved.
"""What is known of the networks that the authors of the backbones published.

``data/published_layouts.json.gz`` holds names and shapes of their state dicts,
``data/published_logits.npz`` what the authors' code returns for images and
weights that follow from the names of the parameters: see :func:`make_weights`
and :func:`make_images`. ActiveMLP's are in ``reference_activemlp.py``.
"""

import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / 'data'
LAYOUTS = json.loads(
    gzip.decompress((DATA / 'published_layouts.json.gz').read_bytes())
)
LOGITS = np.load(DATA / 'published_logits.npz')


def make_weight(name, shape):
    """Draws a tensor from a generator that its name has seeded."""
    digest = hashlib.sha256(name.encode()).digest()
    seed = int.from_bytes(digest[:8], 'little')
    noise = np.random.default_rng(seed).standard_normal(tuple(shape))
    noise = noise.astype(np.float32)
    if name.endswith('running_var'):
        noise = 1 + 0.1 * np.abs(noise)
    elif name.endswith('running_mean'):
        noise *= 0.1
    elif len(shape) >= 2:
        noise *= (1 / int(np.prod(shape[1:]))) ** 0.5
    elif name.endswith('weight') or 'gamma' in name or 'alpha' in name:
        noise = 1 + 0.1 * noise
    else:
        noise *= 0.1
    return torch.from_numpy(np.asarray(noise))


def make_weights(name):
    """Makes the state dict of a published network, but for fixed buffers."""
    return {
        key: (
            torch.tensor(0)
            if key.endswith('num_batches_tracked')
            else make_weight(_resolve_alias(key), shape)
        )
        for key, shape in LAYOUTS[name].items()
        if not key.endswith('.offset')
    }


def _resolve_alias(key):
    """In P2T's first release every block holds its stage's convolutions."""
    return re.sub(r'block(\d)\.\d+\.attn\.d_convs\.(.*)', r'd_convs\1.\2', key)


def make_zeros(name):
    """Makes one of zeros, which takes next to no memory."""
    return {
        key: torch.zeros(()).expand(shape)
        for key, shape in LAYOUTS[name].items()
        if not key.endswith('.offset')
    }


def make_images(seed=1, n=2, height=224, width=224):
    """Draws normalized images."""
    noise = np.random.default_rng(seed).standard_normal((n, 3, height, width))
    return torch.from_numpy(noise.astype(np.float32))
