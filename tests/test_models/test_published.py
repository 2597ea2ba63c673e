# Copyright (c) mmactive contributors. All rights reserved.
"""The backbones, converted from published names, against published results."""

import pytest
import torch
from mmengine.registry import DefaultScope
from published import LAYOUTS, LOGITS, make_images, make_weights, make_zeros
from reference_shift_mlps import (
    ASMLP_T,
    CYCLEMLP_B2,
    ReferenceASMLP,
    ReferenceCycleMLP,
)

from mmactive.models.conversion import convert, revert
from mmactive.registry import MODELS


@pytest.fixture(autouse=True)
def scope():
    """That of classifiers, whatever a test before has left."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


GFNET_ARCHS = {
    'ti': 'tiny',
    'xs': 'xs',
    's': 'small',
    'b': 'base',
    'h-ti': 'h-tiny',
    'h-s': 'h-small',
    'h-b': 'h-base',
}
SIZES = dict(T='tiny', S='small', M='medium', B='base', L='large')
# By family of the layouts, how they are recognised.
FAMILIES = {
    'ActiveMLP': lambda variant: f"ActiveMLP, arch='{variant.lower()}'",
    'ASMLP': lambda variant: f"ASMLP, arch='{SIZES[variant]}'",
    'CPVT': lambda variant: (
        "CPVT, arch='{}', num_pegs=5, with_cls_token=True".format(
            dict(ti='tiny', b='base')[variant.partition('-')[0]]
        )
    ),
    'CycleMLP': lambda variant: f"CycleMLP, arch='{variant.lower()}'",
    'EAMLP': lambda variant: f"EAMLP, arch='{variant}'",
    'GFNet': lambda variant: (
        f"GFNet, arch='{GFNET_ARCHS[variant]}', img_size=224"
    ),
    'MorphMLP': lambda variant: f"MorphMLP, arch='{SIZES[variant]}'",
    'P2T': lambda variant: f"P2T, arch='{variant}'",
    'S2MLP': lambda variant: "S2MLP, arch='{}', norm_position='{}'".format(
        dict(W='wide', D='deep')[variant[0]],
        'post' if 'paper' in variant else 'pre',
    ),
    'ShiftViT': lambda variant: (
        f"ShiftViT, arch='{SIZES[variant[0]]}{variant[1:]}'"
    ),
    'ViP': lambda variant: f"ViP, arch='{SIZES[variant]}'",
    'WaveMLP': lambda variant: (
        f"WaveMLP, arch='{SIZES[variant[0]]}{variant[1:].replace('_', '-')}'"
    ),
}
NAMES = list(LAYOUTS)
QUICK = [
    'ActiveMLP-xTiny',
    'ASMLP-T-dense',
    'CycleMLP-B1-dense',
    'GFNet-h-ti',
    'ViP-M',
    'WaveMLP-T-dense',
]
# Of the largest difference, relative to the standard deviation of the logits.
# Equal networks differ by 5e-6, those with the smallest mistake by 2e-4. In
# WaveMLP-T_dw batch norms let activations grow; float64 differs by 1e-4.
TOLERANCES = {**dict.fromkeys(LOGITS, 2e-5), 'WaveMLP-T_dw': 5e-4}


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


def test_weights_of_gfnet_for_other_images():
    """Also back, where nothing but the shapes tells the size."""
    shapes = dict(LAYOUTS['GFNet-ti'], pos_embed=[1, 144, 256])
    for i in range(12):
        shapes[f'blocks.{i}.filter.complex_weight'] = [12, 7, 256, 2]
    weights = {key: torch.zeros(shape) for key, shape in shapes.items()}
    converted, cfg, text = convert(weights)
    assert cfg['backbone']['img_size'] == 192
    with torch.device('meta'):
        model = MODELS.build(cfg)
    model.load_state_dict(converted, assign=True)
    reverted, reverted_text = revert(converted)
    assert reverted_text == text
    assert {k: list(x.shape) for k, x in reverted.items()} == shapes


@pytest.mark.parametrize(
    ('reference', 'kwargs'),
    [
        (ReferenceCycleMLP, CYCLEMLP_B2),
        (ReferenceASMLP, ASMLP_T),
    ],
)
def test_other_formulations(reference, kwargs):
    """What the benchmark measures is the same network, on any image."""
    torch.manual_seed(0)
    network = reference(**kwargs, num_classes=10).eval()
    converted, cfg, _ = convert(network.state_dict())
    model = MODELS.build(cfg).eval()
    model.load_state_dict(converted)
    images = make_images(height=64, width=96)
    with torch.no_grad():
        torch.testing.assert_close(
            model(images), network(images), rtol=1e-4, atol=1e-5
        )
