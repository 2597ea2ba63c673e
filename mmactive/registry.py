# Copyright (c) mmactive contributors. All rights reserved.
"""Registries of this package, children of MMEngine's.

``type='mmactive.ActiveMLP'`` finds a component from any other OpenMMLab
library once ``mmactive`` is imported.
"""

from .utils.dependencies import import_hint

with import_hint():
    from mmengine.config.utils import MODULE2PACKAGE
    from mmengine.registry import MODELS as MMENGINE_MODELS
    from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
    from mmengine.registry import Registry

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmactive',
    locations=['mmactive.models'],
)
OPTIM_WRAPPERS = Registry(
    'optim_wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mmactive',
    locations=['mmactive.engine'],
)

# Lets configs inherit by `_base_ = 'mmactive::coco/...'`. mmengine finds the
# folder of an editable install by the name of a module, but not by that of the
# distribution.
MODULE2PACKAGE['mmactive'] = __name__
