# Copyright (c) mmactive contributors. All rights reserved.
import importlib

import pytest
import torch
from torch import nn

from mmactive.models import backbones
from mmactive.models.layers import apply


@pytest.mark.parametrize('threads', [1, 2])
@pytest.mark.parametrize('shape', [(2, 5, 7, 24), (1, 1, 1, 24), (3, 24)])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('by_convolution', [True, False])
def test_equals_a_linear_layer_in_float64(
    threads, shape, bias, by_convolution, monkeypatch
):
    module = importlib.import_module('mmactive.ops.linear')
    monkeypatch.setattr(module, 'IS_FASTER_BY_CONVOLUTION', by_convolution)
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=bias)
    expected = nn.Linear(24, 40, bias=bias).double()
    expected.load_state_dict(layer.state_dict())
    x = torch.randn(shape, requires_grad=True)
    y = x.detach().double().requires_grad_()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        output, target = apply(layer, x), expected(y)
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


@pytest.mark.parametrize('by_convolution', [True, False])
def test_what_others_attach_to_a_layer_is_called(by_convolution, monkeypatch):
    module = importlib.import_module('mmactive.ops.linear')
    monkeypatch.setattr(module, 'IS_FASTER_BY_CONVOLUTION', by_convolution)
    x = torch.rand(1, 2, 2, 4)
    calls = []
    hooked = nn.Linear(4, 4)
    hooked.register_forward_hook(lambda *args: calls.append('hook'))
    apply(hooked, x)
    replaced = nn.Linear(4, 4)
    replaced.forward = lambda x: calls.append('forward')
    apply(replaced, x)
    handle = nn.modules.module.register_module_forward_hook(
        lambda *args: calls.append('global hook')
    )
    try:
        apply(nn.Linear(4, 4), x)
    finally:
        handle.remove()
    assert calls == ['hook', 'forward', 'global hook']


@pytest.mark.parametrize('name', sorted(set(backbones.__all__)))
def test_linear_layers_and_convolutions_are_of_pytorchs_class(name):
    """Quantization, counters and pruning go by the exact class."""
    family = getattr(backbones, name)
    if not hasattr(family, 'arch_settings'):
        pytest.skip('wraps a backbone of a library')
    with torch.device('meta'):
        model = family(next(iter(family.arch_settings)))
    layers = [
        module
        for module in model.modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    assert layers
    assert {type(layer) for layer in layers} <= {nn.Linear, nn.Conv2d}


def test_dynamic_quantization():
    model = backbones.ActiveMLP('xtiny', gap=True).eval()
    num_layers = sum(type(x) is nn.Linear for x in model.modules())
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    found = sum(
        isinstance(x, torch.ao.nn.quantized.dynamic.Linear)
        for x in quantized.modules()
    )
    assert found == num_layers == 85
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        (expected,), (output,) = model(x), quantized(x)
    assert torch.nn.functional.cosine_similarity(output, expected) > 0.99
