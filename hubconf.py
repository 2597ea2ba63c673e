# Copyright (c) mmactive contributors. All rights reserved.
"""The backbones for ``torch.hub``, under timm's names.

    torch.hub.load(FOLDER, 'activemlp_tiny', source='local', num_classes=10)

Each takes the arguments of ``timm.create_model`` and, as ``checkpoint_path``,
a classifier that ``tools/train.py`` has saved.
"""

from functools import partial

import timm

import mmactive  # noqa: F401
from mmactive.models.timm import default_cfgs

dependencies = ['torch', 'mmengine', 'mmcv', 'timm']

globals().update(
    {name: partial(timm.create_model, name) for name in default_cfgs}
)
