# Copyright (c) mmactive contributors. All rights reserved.
"""The example of docs/en/new_backbone.md works as it stands there."""

import re
from pathlib import Path

import pytest
import torch

from mmactive.models.conversion import convert, revert
from mmactive.models.conversion.convert import FAMILIES
from mmactive.registry import MODELS

DOCUMENT = Path(__file__).parents[2] / 'docs' / 'en' / 'new_backbone.md'


@pytest.fixture
def example():
    text = DOCUMENT.read_text()
    blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    assert len(blocks) == 3
    scope = {'__name__': 'example'}
    try:
        for block in blocks:
            exec(block, scope)
        FAMILIES.append(scope['CrossMLPNames']())
        yield scope
    finally:
        FAMILIES[:] = [f for f in FAMILIES if f.backbone != 'CrossMLP']
        for name in ('CrossMixer', 'CrossMLP'):
            MODELS.module_dict.pop(name, None)


def test_example(example):
    backbone = example['CrossMLP'](with_cp=True)
    (feature,) = backbone.train()(torch.rand(2, 3, 64, 64))
    feature.sin().sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())
    # One row is like the next one to the mixer: it takes their means.
    mixer = example['CrossMixer'](8)
    tokens = torch.rand(1, 3, 1, 8).expand(1, 3, 5, 8)
    mixed = mixer(tokens)
    torch.testing.assert_close(mixed[:, :, 0], mixed[:, :, 4])

    # A published checkpoint, made of ours by the names, and back.
    weights = {f'backbone.{k}': x for k, x in backbone.state_dict().items()}
    weights['head.fc.weight'] = torch.rand(5, 512)
    weights['head.fc.bias'] = torch.rand(5)
    published, _ = revert(weights)
    assert published['blocks.2.3.cross.fc_row.bias'].shape == (320,)
    converted, cfg, text = convert(published)
    assert text == "CrossMLP, arch='tiny', classifier"
    assert cfg['head']['num_classes'] == 5
    assert converted.keys() == weights.keys()
    assert all(torch.equal(converted[name], weights[name]) for name in weights)
