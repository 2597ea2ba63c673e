# Copyright (c) mmactive contributors. All rights reserved.
import importlib

import pytest
import torch
from torch import nn

from mmactive.models.layers import Linear


@pytest.mark.parametrize('threads', [1, 2])
@pytest.mark.parametrize('shape', [(2, 5, 7, 24), (1, 1, 1, 24), (3, 24)])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('has_avx512', [True, False])
def test_equals_a_linear_layer_in_float64(
    threads, shape, bias, has_avx512, monkeypatch
):
    module = importlib.import_module('mmactive.ops.linear')
    monkeypatch.setattr(module, 'HAS_AVX512', has_avx512)
    torch.manual_seed(0)
    layer = Linear(24, 40, bias=bias)
    expected = nn.Linear(24, 40, bias=bias).double()
    expected.load_state_dict(layer.state_dict())
    x = torch.randn(shape, requires_grad=True)
    y = x.detach().double().requires_grad_()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        output, target = layer(x), expected(y)
        grad = torch.randn_like(output)
        grads = torch.autograd.grad(output, [x, *layer.parameters()], grad)
    finally:
        torch.set_num_threads(before)
    targets = torch.autograd.grad(
        target, [y, *expected.parameters()], grad.double()
    )
    assert output.is_contiguous()
    for actual, wanted in zip((output, *grads), (target, *targets)):
        torch.testing.assert_close(
            actual.double(), wanted, rtol=1e-5, atol=1e-5
        )
