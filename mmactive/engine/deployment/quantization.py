# Copyright (c) mmactive contributors. All rights reserved.
"""Quantizes ONNX models to int8, for ONNX Runtime on a CPU."""

import os.path as osp
import tempfile
from contextlib import contextmanager
from typing import Iterable, Iterator, Optional

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

# What has weights; the products of two activations stay as they are.
LAYERS = ['Conv', 'Gemm', 'MatMul']


class _Images(CalibrationDataReader):
    """Hands images (N, C, H, W) to the calibration, batch by batch."""

    def __init__(self, batches: Iterable[np.ndarray]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> Optional[dict]:
        batch = next(self.batches, None)
        return None if batch is None else dict(images=batch)


@contextmanager
def _prepared(path: str) -> Iterator[str]:
    """Folds constants and batch norms first; yields path of that model."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = osp.join(folder, 'prepared.onnx')
        # Sizes are not known, so that there are no shapes to infer.
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        yield prepared


def quantize(
    path: str, batches: Optional[Iterable[np.ndarray]] = None
) -> bytes:
    """Quantizes a model.

    Weights have 7 bits, a scale for each output channel: with 8, processors
    without VNNI overflow and say nothing.

    Args:
        path (str): An ``.onnx`` file.
        batches (Iterable[ndarray], optional): Images (N, C, H, W), float32,
            by which the ranges of activations are fixed (static
            quantization). None means to find them at run time (dynamic), and
            to quantize the linear layers only. Defaults to None.

    Returns:
        bytes: Content of the quantized file.
    """
    with _prepared(path) as prepared:
        out = osp.join(osp.dirname(prepared), 'quantized.onnx')
        shared = dict(
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options=dict(MatMulConstBOnly=True),
        )
        if batches is None:
            quantize_dynamic(
                prepared, out, op_types_to_quantize=LAYERS[1:], **shared
            )
        else:
            quantize_static(
                prepared,
                out,
                _Images(batches),
                op_types_to_quantize=LAYERS,
                activation_type=QuantType.QUInt8,
                calibrate_method=CalibrationMethod.MinMax,
                **shared,
            )
        model = onnx.load(out)
    props = {x.key: x.value for x in onnx.load(path).metadata_props}
    onnx.helper.set_model_props(model, props)
    return model.SerializeToString()


def count_quantized(model: bytes) -> int:
    """Counts the layers of a model that compute with int8."""
    graph = onnx.load_from_string(model).graph
    int8 = {x.name for x in graph.initializer if x.data_type == 3}
    return sum(bool(int8 & set(node.input)) for node in graph.node)
