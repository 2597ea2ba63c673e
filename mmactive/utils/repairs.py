# Copyright (c) mmactive contributors. All rights reserved.
"""What the libraries' tools fail at with the configs and versions of today."""

import pkgutil
from functools import wraps
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from inspect import signature
from typing import Any

from .import_hook import call_when_imported


def register() -> None:
    """Repairs each module as soon as it is imported."""
    for module, repair in (
        ('matplotlib._tight_bbox', _find_renderer),
        ('matplotlib.style', _name_style),
        ('mmengine', _find_loader),
        ('mmengine.config', _find_fork),
        ('mmpretrain.visualization.visualizer', _accept_scope),
        ('mmseg.visualization.local_visualizer', _draw_on_copies),
    ):
        call_when_imported(module, repair)


def _find_renderer() -> None:
    """Lets mmpretrain's browse_dataset adjust a figure without a renderer.

    Matplotlib 3.11 asks for one.
    """
    from matplotlib import _tight_bbox

    # Its types are those of one version.
    module: Any = _tight_bbox
    adjust = module.adjust_bbox
    if 'renderer' not in signature(adjust).parameters:
        return

    @wraps(adjust)
    def adjust_bbox(fig, bbox_inches, renderer=None, fixed_dpi=None):
        renderer = renderer or fig.canvas.get_renderer()
        return adjust(fig, bbox_inches, renderer, fixed_dpi)

    module.adjust_bbox = adjust_bbox


def _name_style() -> None:
    """Lets analyze_logs of mmdet's fork draw in its default style.

    It asks matplotlib for what is seaborn's name.
    """
    from matplotlib import style

    if 'seaborn-v0_8-dark' in style.library:
        style.library.setdefault('dark', style.library['seaborn-v0_8-dark'])


def _find_loader() -> None:
    """Lets mmengine and mmcv look mmcv._ext up in Python 3.14.

    It has no ``pkgutil.find_loader`` any more.
    """
    if hasattr(pkgutil, 'find_loader'):
        return

    def find_loader(name):
        spec = find_spec(name)
        return spec and spec.loader

    pkgutil.find_loader = find_loader


def _find_fork() -> None:
    """Lets configs inherit from ``mmseg::`` where its fork is installed.

    mmengine asks for mmsegmentation, and finds a package by its import name
    as well.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    # Not by mmengine's is_installed: it imports pkg_resources, which warns.
    try:
        distribution(MODULE2PACKAGE['mmseg'])
    except PackageNotFoundError:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def _accept_scope() -> None:
    """Lets mmpretrain's visualizer be built of a config that inherits.

    What comes from ``mmpretrain::...`` has a ``_scope_``, which registries
    take away, but mmpretrain's browse_dataset calls the class.
    """
    from mmpretrain.visualization.visualizer import UniversalVisualizer

    init = UniversalVisualizer.__init__

    @wraps(init)
    def init_without_scope(self, *args, _scope_=None, **kwargs):
        init(self, *args, **kwargs)

    UniversalVisualizer.__init__ = init_without_scope


def _draw_on_copies() -> None:
    """Lets mmseg draw on images that are views, as its browse_dataset gives.

    OpenCV writes into contiguous arrays alone.
    """
    import numpy as np
    from mmseg.visualization.local_visualizer import SegLocalVisualizer

    draw = SegLocalVisualizer._draw_sem_seg

    @wraps(draw)
    def draw_on_copy(self, image, *args, **kwargs):
        return draw(self, np.ascontiguousarray(image), *args, **kwargs)

    SegLocalVisualizer._draw_sem_seg = draw_on_copy
