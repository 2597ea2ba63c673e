# Copyright (c) mmactive contributors. All rights reserved.
import pytest
import torch
from torch import nn

from mmactive.engine import CPUAmpOptimWrapper


class Backbone(nn.Linear):
    def forward(self, x):
        self.seen = super().forward(x)
        return (self.seen,)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Backbone(8, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(*self.backbone(x))


def test_backbone_in_bfloat16_and_head_in_float32():
    torch.manual_seed(0)
    model = Model()
    wrapper = CPUAmpOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    x = torch.randn(4, 8)
    expected = model(x)
    with wrapper.optim_context(model):
        output = model(x)
        assert model.backbone.seen.dtype == torch.bfloat16
        assert torch.equal(output, model.head(model.backbone.seen.float()))
    assert not torch.equal(output, expected)
    torch.testing.assert_close(output, expected, rtol=0.02, atol=0.02)

    before = model.backbone.weight.clone()
    wrapper.update_params(output.square().sum())
    assert not torch.equal(model.backbone.weight, before)
    # Nothing is left behind.
    assert 'forward' not in vars(model.backbone)
    model(x)
    assert model.backbone.seen.dtype == torch.float32


def test_all_backbones_and_their_other_outputs():
    class Indexed(Backbone):
        def forward(self, x):
            return [*super().forward(x), torch.arange(3)], None

    model = nn.ModuleDict(dict(detector=Model(), teacher=Model()))
    model.teacher.backbone = Indexed(8, 8)
    wrapper = CPUAmpOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with wrapper.optim_context(model):
        model.detector(torch.randn(4, 8))
        (output, index), nothing = model.teacher.backbone(torch.randn(4, 8))
    assert model.detector.backbone.seen.dtype == torch.bfloat16
    assert model.teacher.backbone.seen.dtype == torch.bfloat16
    assert output.dtype == torch.float32
    assert index.dtype == torch.int64
    assert nothing is None


def test_model_without_backbone():
    model = nn.Linear(8, 8)
    wrapper = CPUAmpOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    context = wrapper.optim_context(model)
    with pytest.raises(ValueError, match='Linear has no module of this name'):
        context.__enter__()
