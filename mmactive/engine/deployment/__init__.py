# Copyright (c) mmactive contributors. All rights reserved.
"""Models outside of PyTorch: what is exported, how, and how it runs."""

from .export import compare, export_aoti, export_onnx
from .models import make_exportable
from .runtime import ExportedModel, load_exported, make_exported_cfg

__all__ = [
    'ExportedModel',
    'compare',
    'export_aoti',
    'export_onnx',
    'load_exported',
    'make_exportable',
    'make_exported_cfg',
]
