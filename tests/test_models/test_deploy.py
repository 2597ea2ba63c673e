# Copyright (c) mmactive contributors. All rights reserved.
"""``switch_to_deploy``: the same results, with layers folded."""

import pytest
import torch
from mmengine.model import BaseModule

from mmactive.models import ActiveMLP, ActiveTokenMixer
from mmactive.registry import MODELS


def make_mixer(dims=16, dtype=torch.float64, seed=0):
    """A mixer whose parameters are all far from zero."""
    mixer = ActiveTokenMixer(dims)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in mixer.parameters():
            values = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(values * dims**-0.5)
    return mixer.to(dtype)


def make_tokens(shape, groups, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator)
    offset = torch.randn((*shape[:3], 2 * groups), generator=generator) * 2
    return x.to(dtype), offset.to(dtype)


def linear_shapes(mixer, *args):
    """Shapes of the tokens that reach ``fc_c`` when the mixer runs."""
    shapes = []
    handle = mixer.fc_c.register_forward_hook(
        lambda module, inputs, output: shapes.append(tuple(output.shape))
    )
    mixer(*args)
    handle.remove()
    return shapes


@pytest.mark.parametrize('with_offset', [True, False])
@pytest.mark.parametrize(
    'size', [(7, 7), (6, 8), (9, 17), (1, 60), (60, 1)], ids=str
)
def test_mixer(size, with_offset):
    mixer = make_mixer(16)
    x, offset = make_tokens((3, *size, 16), 4)
    offset = offset if with_offset else None
    expected = mixer(x, offset)
    assert linear_shapes(mixer, x, offset) == [(3, *size, 16)]
    mixer.switch_to_deploy()
    torch.testing.assert_close(
        mixer(x, offset), expected, rtol=1e-12, atol=1e-12
    )
    # Folded where tokens outnumber the 3 C columns of the map: then `fc_c`
    # sees only means.
    if size[0] * size[1] > 48:
        assert linear_shapes(mixer, x, offset) == [(3, 16)]
    else:
        assert linear_shapes(mixer, x, offset) == [(3, *size, 16)]


def test_mixer_gradients():
    x, offset = make_tokens((2, 8, 9, 16), 4)
    grads = []
    for deploy in (False, True):
        mixer = make_mixer(16)
        if deploy:
            mixer.switch_to_deploy()
        tensors = [
            x.clone().requires_grad_(),
            offset.clone().requires_grad_(),
            *mixer.parameters(),
        ]
        output = mixer(*tensors[:2])
        grads.append(torch.autograd.grad(output.square().sum(), tensors))
    for actual, expected in zip(*grads):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_mixer_precision(dtype):
    """Folded as exact as unfolded, in float32 and under autocast."""
    x, offset = make_tokens((2, 20, 21, 64), 16, torch.float32)
    exact = make_mixer(64)(x.double(), offset.double())
    errors = []
    for deploy in (False, True):
        mixer = make_mixer(64, torch.float32)
        if deploy:
            mixer.switch_to_deploy()
        with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
            output = mixer(x, offset)
        assert output.dtype == dtype
        errors.append((output.double() - exact).square().mean().sqrt())
    eps = torch.finfo(dtype).eps
    assert errors[1] < max(2 * errors[0], eps * exact.std())


def make_backbone(**kwargs):
    torch.manual_seed(0)
    backbone = ActiveMLP('xtiny', out_indices=(0, 1, 2, 3), **kwargs).eval()
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if 'norm' not in name and parameter.dim() > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return backbone


@torch.no_grad()
def test_backbone():
    backbone = make_backbone()
    keys = list(backbone.state_dict())
    images = torch.randn(2, 3, 160, 224)
    expected = backbone(images)
    backbone.switch_to_deploy()
    assert list(backbone.state_dict()) == keys
    mixers = [m for m in backbone.modules() if isinstance(m, ActiveTokenMixer)]
    assert len(mixers) == 10
    assert all(mixer.deploy for mixer in mixers)
    actual = backbone(images)
    for a, e in zip(actual, expected):
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-4)
        assert not torch.equal(a, e)  # layers were folded


def test_backbone_with_another_mixer():
    class Identity(BaseModule):
        def __init__(self, embed_dims):
            super().__init__()

        def forward(self, x, offset):
            return x

    with MODELS.switch_scope_and_registry('mmactive') as registry:
        registry.register_module('IdentityMixer', module=Identity, force=True)
    backbone = make_backbone(mixer=dict(type='mmactive.IdentityMixer'))
    backbone.switch_to_deploy()
    backbone(torch.randn(1, 3, 32, 32))


@torch.no_grad()
def test_compiles_without_graph_breaks():
    backbone = make_backbone()
    backbone.switch_to_deploy()
    torch._dynamo.reset()
    compiled = torch.compile(backbone, fullgraph=True, backend='aot_eager')
    images = torch.randn(1, 3, 64, 96)
    for actual, expected in zip(compiled(images), backbone(images)):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
