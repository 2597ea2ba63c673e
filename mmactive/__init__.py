# Copyright (c) mmactive contributors. All rights reserved.
"""ActiveMLP and its Active Token Mixer for OpenMMLab.

``mmactive.ops`` needs PyTorch alone. Where mmengine and mmcv are installed,
importing ``mmactive`` also registers the models (scope ``mmactive``) and makes
mmengine's checkpoints loadable with ``weights_only=True``.
"""

from .utils import dependencies
from .version import __version__

__all__ = ['__version__']

if not dependencies.is_diagnosis():
    with dependencies.import_hint():
        dependencies.check_versions()

        from . import ops  # noqa: F401

        if dependencies.is_installed('mmengine'):
            from .utils.checkpoint import trust_mmengine_checkpoints

            trust_mmengine_checkpoints()

            if dependencies.is_installed('mmcv'):
                dependencies.check_mmcv_ops()

                from . import models  # noqa: F401
