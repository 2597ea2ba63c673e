# Copyright (c) mmactive contributors. All rights reserved.
"""Both operators in ONNX, by PyTorch's two exporters, under onnxruntime."""

import pytest
import torch
from torch import nn

from mmactive.ops import axial_deform_gather, axial_shift

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')


class Gather(nn.Module):
    def forward(self, x):
        offset = 5 * x[..., :4].sin()
        x = axial_deform_gather(x, offset, 2)
        return axial_deform_gather(x, offset, 1)


class Shift(nn.Module):
    def forward(self, x):
        shifts = [2, -1, 0, 1, 5, -7, 0, 1]
        x = axial_shift(x, shifts, 2)
        return axial_shift(x, shifts, 1, padding_mode='border')


@pytest.mark.parametrize('model', [Gather(), Shift()])
@pytest.mark.parametrize(
    'dynamo', [False, pytest.param(True, marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings('ignore')
def test_export(model, dynamo, tmp_path):
    x = torch.randn(2, 5, 6, 8)
    path = tmp_path / 'model.onnx'
    if dynamo:
        pytest.importorskip('onnxscript')
        sizes = dict(dynamic_shapes=({0: 'n', 1: 'h', 2: 'w'},))
    else:
        sizes = dict(dynamic_axes=dict(x={0: 'n', 1: 'h', 2: 'w'}))
        sizes['input_names'] = ['x']
    torch.onnx.export(
        model, (x,), path, dynamo=dynamo, opset_version=18, **sizes
    )
    nodes = onnx.load(path).graph.node
    assert {node.domain for node in nodes} == {''}
    session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    for shape in ((2, 5, 6, 8), (1, 9, 3, 8)):
        x = torch.randn(shape)
        (output,) = session.run(None, {name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(output), model(x))
