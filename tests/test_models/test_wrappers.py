# Copyright (c) mmactive contributors. All rights reserved.
import sys

import pytest
import torch
from mmengine.registry import init_default_scope

from mmactive.registry import MODELS

PVT = dict(
    type='mmdet.PyramidVisionTransformer',
    embed_dims=8,
    num_layers=[1, 1, 1, 1],
    out_indices=(1, 3),
)


def test_tuple_output():
    """A classifier takes it, and finds the parameters by their own names."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    plain = MODELS.build(PVT).eval()
    classifier = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmactive.TupleOutput', backbone=PVT),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=2, in_channels=64),
        )
    ).eval()
    classifier.backbone.load_state_dict(plain.state_dict(), strict=True)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = plain(image)
        outputs = classifier.backbone(image)
        assert type(expected) is list
        assert type(outputs) is tuple
        torch.testing.assert_close(list(outputs), expected)
        pooled = expected[-1].mean(dim=(2, 3))
        torch.testing.assert_close(
            classifier(image), classifier.head.fc(pooled)
        )


def test_resmlp_is_timms():
    """ResMLP-S12, which timm lists, from the general form."""
    timm = pytest.importorskip('timm')
    expected = timm.create_model('resmlp_12_224', num_classes=0).eval()
    model = MODELS.build(
        dict(type='mmactive.ResMLP', embed_dims=384, depth=12)
    ).eval()
    assert model.net.blocks[0].ls1[0].item() == pytest.approx(1e-4)
    model.net.load_state_dict(expected.state_dict(), strict=True)
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        (output,) = model(image)
        torch.testing.assert_close(output, expected(image))
    assert output.shape == (1, 384)


def test_resmlp_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm.models.mlp_mixer', None)
    with pytest.raises(ImportError, match='pip install timm'):
        MODELS.build(dict(type='mmactive.ResMLP', embed_dims=8, depth=1))


def test_layers_of_resmlp():
    """The patches, the blocks, and the norm with what follows."""
    pytest.importorskip('timm')
    model = MODELS.build(
        dict(type='mmactive.ResMLP', embed_dims=8, depth=3, img_size=32)
    )
    depths = {
        name: model.get_layer_depth(f'backbone.{name}', 'backbone.')
        for name, _ in model.named_parameters()
    }
    assert {count for _, count in depths.values()} == {5}
    for name, (depth, _) in depths.items():
        part = name.split('.')
        expected = dict(stem=0, norm=4).get(part[1])
        if expected is None:
            expected = 1 + int(part[2])
        assert depth == expected, name
