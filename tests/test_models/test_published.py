# Copyright (c) mmactive contributors. All rights reserved.
"""The backbones, converted from published names, against published results."""

import pytest
import torch
from published import LAYOUTS, LOGITS, make_images, make_weights, make_zeros

from mmactive.models.conversion import convert, revert
from mmactive.registry import MODELS

# By family of the layouts, how they are recognised.
FAMILIES = {
    'ActiveMLP': lambda variant: f"ActiveMLP, arch='{variant.lower()}'",
    'ASMLP': lambda variant: "ASMLP, arch='{}'".format(
        dict(T='tiny', S='small', B='base')[variant]
    ),
    'CycleMLP': lambda variant: f"CycleMLP, arch='{variant.lower()}'",
    'S2MLP': lambda variant: "S2MLP, arch='{}', norm_position='{}'".format(
        dict(W='wide', D='deep')[variant[0]],
        'post' if 'paper' in variant else 'pre',
    ),
    'ShiftViT': lambda variant: "ShiftViT, arch='{}'".format(
        variant.replace('T', 'tiny').replace('S', 'small').replace('B', 'base')
    ),
}
NAMES = [name for name in LAYOUTS if name.partition('-')[0] in FAMILIES]
QUICK = ['ActiveMLP-xTiny', 'ASMLP-T-dense', 'CycleMLP-B1-dense']
# Of the largest difference, relative to the standard deviation of the logits.
# Equal networks differ by 4e-6, those with the smallest mistake by 2e-4.
TOLERANCES = dict.fromkeys(set(NAMES) & set(LOGITS), 1e-5)


@pytest.mark.parametrize('name', sorted(TOLERANCES))
def test_logits(name):
    weights = make_weights(name)
    converted, cfg, _ = convert(weights)
    model = MODELS.build(cfg).eval()
    model.load_state_dict(converted)
    with torch.no_grad():
        logits = model(make_images())
    expected = torch.from_numpy(LOGITS[name])
    error = (logits - expected).abs().max() / expected.std()
    assert error < TOLERANCES[name]

    reverted, _ = revert(converted)
    assert set(reverted) == set(LAYOUTS[name])
    for key, weight in weights.items():
        assert torch.equal(reverted[key], weight)


@pytest.mark.parametrize(
    'name',
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in NAMES
    ],
)
def test_layouts(name):
    """All names are known, and lead to a model that says what it is."""
    family, _, variant = name.partition('-')
    dense = variant.endswith('-dense')
    variant = variant.removesuffix('-dense')
    weights = make_zeros(name)
    converted, cfg, text = convert(weights)
    kind = 'dense backbone' if dense else 'classifier'
    assert text == f'{FAMILIES[family](variant)}, {kind}'
    with torch.device('meta'):
        model = MODELS.build(cfg)
    model.load_state_dict(converted, assign=True)

    reverted, reverted_text = revert(converted)
    assert reverted_text == text
    assert {k: list(x.shape) for k, x in reverted.items()} == LAYOUTS[name]


def test_fixed_offsets_are_checked():
    weights = make_zeros('CycleMLP-B1')
    reverted, _ = revert(convert(weights)[0])
    offset = reverted['network.2.0.attn.sfc_w.offset']
    # Pairs of vertical and horizontal offsets
    assert offset.flatten()[:8].tolist() == [0, 0, 1, 0, -1, 0, 0, 0]
    convert(reverted)
    offset += 1
    with pytest.raises(
        ValueError, match=r'2\.0\.attn\.sfc_w\.offset is fixed'
    ):
        convert(reverted)
