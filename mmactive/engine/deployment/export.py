# Copyright (c) mmactive contributors. All rights reserved.
"""Exports modules to ONNX and AOTInductor, and compares the results."""

import io
import json
import warnings
from typing import Dict

import torch
from torch import Tensor
from torch.export import ExportedProgram

from .models import Exportable
from .runtime import METADATA

OPSET = 17


def export_onnx(
    module: Exportable, images: Tensor, metadata: dict, is_dynamic: bool = True
) -> bytes:
    """Exports a module to ONNX, of standard operators only.

    Args:
        module (Exportable): What
            :func:`~mmactive.engine.deployment.make_exportable` returns.
        images (Tensor): An example of its input, (N, C, H, W).
        metadata (dict): What is to be known of the model, see
            ``metadata_props`` of ONNX.
        is_dynamic (bool): Whether other heights and widths are to do as well.
            The batch always may be another one. Defaults to True.

    Returns:
        bytes: Content of the file.

    Raises:
        RuntimeError: If the model has an operator that ONNX has not. The
            error names it.
    """
    import onnx

    axes = {0: 'batch', 2: 'height', 3: 'width'}
    names = module.output_names
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # That the exporter is an old one, and that it does not see the other
        # side of branches: the result is compared.
        warnings.simplefilter('ignore')
        try:
            torch.onnx.export(
                module,
                (images,),
                buffer,
                # The new exporter takes many times as long.
                dynamo=False,
                opset_version=OPSET,
                input_names=['images'],
                output_names=names,
                dynamic_axes=dict(
                    {name: {0: 'batch'} for name in names},
                    images=axes if is_dynamic else {0: 'batch'},
                ),
            )
        except (torch.onnx.errors.OnnxExporterError, IndexError) as error:
            raise RuntimeError(
                f'not in ONNX: {str(error).splitlines()[0]}'
            ) from error
    model = onnx.load_from_string(buffer.getvalue())
    foreign = {
        f'{node.domain}::{node.op_type}'
        for node in model.graph.node
        if node.domain not in ('', 'ai.onnx')
    }
    if foreign:
        raise RuntimeError(f'not in ONNX: {", ".join(sorted(foreign))}')
    # The exporter guesses shapes of outputs from those of the example.
    for output in model.graph.output:
        shape = output.type.tensor_type.shape
        for i, size in enumerate(shape.dim):
            if is_dynamic and i > 1 and output.name != 'boxes':
                size.dim_param = f'{output.name}_{i}'
    del model.graph.value_info[:]
    onnx.helper.set_model_props(model, {METADATA: json.dumps(metadata)})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def export_aoti(
    module: Exportable,
    images: Tensor,
    metadata: dict,
    path: str,
    is_dynamic: bool = True,
) -> None:
    """Compiles a module by ``torch.export`` and AOTInductor.

    Args:
        module (Exportable): See :func:`export_onnx`.
        images (Tensor): An example of its input, on the device to compile
            for. Sizes of 1 stay 1.
        metadata (dict): What is to be known of the model, see
            ``aot_inductor.metadata``.
        path (str): The file to write, ``.pt2``.
        is_dynamic (bool): Whether other heights and widths are to do as well.
            Defaults to True.

    Raises:
        RuntimeError: If the model cannot be exported.
    """
    from torch._inductor import aoti_compile_and_package

    auto, static = torch.export.Dim.AUTO, torch.export.Dim.STATIC
    size = auto if is_dynamic else static
    axes = {0: auto if len(images) > 1 else static, 2: size, 3: size}
    try:
        with torch.no_grad():
            program = torch.export.export(
                module, (images,), dynamic_shapes=(axes,), strict=False
            )
            _check_dynamic(program, axes)
            aoti_compile_and_package(
                program,
                package_path=path,
                inductor_configs={
                    'aot_inductor.metadata': {METADATA: json.dumps(metadata)},
                    # As many as there are where it runs, not where it was
                    # compiled.
                    'cpp.dynamic_threads': True,
                },
            )
    except Exception as error:
        raise RuntimeError(
            f'not for AOTInductor: {str(error).splitlines()[0]}'
        ) from error


def _check_dynamic(program: ExportedProgram, axes: dict) -> None:
    """Checks that sizes stayed free, since nothing checks them at run time.

    Raises:
        ValueError: If one did not.
    """
    name = program.graph_signature.user_inputs[0]
    nodes = {node.name: node for node in program.graph.nodes}
    shape = nodes[name].meta['val'].shape
    for axis, wanted in axes.items():
        if wanted is torch.export.Dim.AUTO and isinstance(shape[axis], int):
            kind = ('batch', 'channels', 'height', 'width')[axis]
            raise ValueError(f'the {kind} would have to be {shape[axis]}')


def compare(
    actual: Dict[str, Tensor], expected: Dict[str, Tensor]
) -> Dict[str, float]:
    """Compares the outputs of an exported model with those of PyTorch.

    Args:
        actual (dict[str, Tensor]): Outputs by name.
        expected (dict[str, Tensor]): Outputs by name.

    Returns:
        dict[str, float]: By output, the largest difference, relative to the
        largest number in the output if that is above 1; of labels, the share
        that differs, and of masks, that of their pixels. Infinite if shapes
        differ.
    """
    if 'labels' in expected:
        order = _match(actual, expected)
        actual = {name: x.flatten(0, 1)[order] for name, x in actual.items()}
        expected = {name: x.flatten(0, 1) for name, x in expected.items()}
    return {name: _measure(actual[name], x) for name, x in expected.items()}


def _match(actual: Dict[str, Tensor], expected: Dict[str, Tensor]) -> Tensor:
    """Finds for each object the one that is meant.

    Objects of nearly the same score may come in another order.

    Returns:
        Tensor: (N * K, ), indices.
    """
    from scipy.optimize import linear_sum_assignment

    shape = expected['scores'].shape
    costs = (actual['scores'][:, None] - expected['scores'][..., None]).abs()
    costs = costs + (
        actual['boxes'][:, None] - expected['boxes'][:, :, None]
    ).abs().amax(-1)
    differ = actual['labels'][:, None] != expected['labels'][..., None]
    costs = costs.masked_fill(differ, 1e9)
    # What is where it should be comes first.
    rank = torch.arange(shape[1])
    costs = costs + (rank != rank[:, None]) * 1e-9
    orders = []
    for i, cost in enumerate(costs.numpy()):
        order = torch.from_numpy(linear_sum_assignment(cost)[1])
        orders.append(order + i * shape[1])
    return torch.cat(orders)


def _measure(actual: Tensor, expected: Tensor) -> float:
    if actual.shape != expected.shape:
        return float('inf')
    if not expected.is_floating_point():
        return (actual != expected).float().mean().item()
    largest = max(expected.abs().max().item(), 1.0)
    difference = (actual - expected).abs().max().item() / largest
    return difference if difference == difference else float('inf')
