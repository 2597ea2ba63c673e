# Copyright (c) mmactive contributors. All rights reserved.
"""The backbones by timm's and torch.hub's names."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmpretrain import get_model

import mmactive  # noqa: F401

timm = pytest.importorskip('timm')
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def classifier():
    torch.manual_seed(0)
    return get_model('activemlp-xtiny_8xb128_in1k').eval()


@torch.no_grad()
def test_weights_of_a_classifier(classifier, tmp_path):
    path = tmp_path / 'classifier.pth'
    torch.save(dict(state_dict=classifier.state_dict()), path)
    model = timm.create_model('activemlp_xtiny', checkpoint_path=str(path))
    x = torch.rand(2, 3, 64, 96)
    expected = classifier(x)
    torch.testing.assert_close(model.eval()(x), expected)


@torch.no_grad()
def test_features_are_those_of_the_stages(classifier):
    model = timm.create_model(
        'activemlp_xtiny', features_only=True, out_indices=(1, 2)
    ).eval()
    assert model.feature_info.channels() == [128, 320]
    assert model.feature_info.reduction() == [8, 16]
    assert len(model.model.backbone.stages) == 3
    weights = classifier.backbone.state_dict()
    model.model.backbone.load_state_dict(weights, strict=False)
    x = torch.rand(1, 3, 64, 96)
    expected = list(classifier.backbone.iter_stages(x))[1:3]
    for feature, tokens in zip(model(x), expected):
        torch.testing.assert_close(feature, tokens.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ('name', 'size', 'reduction'),
    [
        ('cyclemlp_b1', 64, [4, 8, 16, 32]),
        ('vip_small', 224, [7, 14, 14, 14]),
        ('eamlp_14', 224, [16]),
        ('cpvt_tiny', 64, [16]),
    ],
)
@torch.no_grad()
def test_other_families(name, size, reduction):
    x = torch.rand(1, 3, size, size)
    features = timm.create_model(name, features_only=True).eval()
    assert features.feature_info.reduction() == reduction
    shapes = [tuple(feature.shape[2:]) for feature in features(x)]
    assert shapes == [(size // stride,) * 2 for stride in reduction]
    model = timm.create_model(name, num_classes=7, in_chans=1).eval()
    assert model(x[:, :1]).shape == (1, 7)


def test_a_classifier_of_gfnet_has_its_norm():
    """Of which dense backbones have none."""
    model = timm.create_model('gfnet_h_tiny')
    parameters = sum(x.numel() for x in model.parameters())
    assert parameters == 15_085_096


@torch.no_grad()
def test_arguments_of_timm():
    model = timm.create_model(
        'activemlp_xtiny', num_classes=5, in_chans=1, drop_path_rate=0.2
    ).eval()
    rates = [
        block.drop_path.drop_prob for block in model.backbone.stages[3].blocks
    ]
    assert rates[-1] == pytest.approx(0.2)
    x = torch.rand(1, 1, 64, 64)
    assert model(x).shape == (1, 5)
    features, intermediates = model.forward_intermediates(x, norm=True)
    assert torch.equal(features, intermediates[-1])
    assert torch.equal(features, model.forward_features(x))
    assert model.forward_head(features, pre_logits=True).shape == (1, 512)
    model.set_grad_checkpointing()
    model.reset_classifier(3)
    assert model(x).shape == (1, 3)
    with pytest.raises(ValueError, match=r"output_fmt must be .* 'NLC'"):
        model.forward_intermediates(x, output_fmt='NLC')


def test_weights_for_other_images_and_classes(classifier, tmp_path):
    """By timm's own way: a file in the place of published weights."""
    path = tmp_path / 'classifier.pth'
    weights = classifier.state_dict()
    torch.save(dict(state_dict=weights), path)
    model = timm.create_model(
        'activemlp_xtiny',
        pretrained=True,
        pretrained_cfg_overlay=dict(file=str(path)),
        in_chans=1,
        num_classes=5,
    )
    own = model.state_dict()
    name = 'backbone.downsample_layers.0.weight'
    summed = weights[name].sum(dim=1, keepdim=True)
    torch.testing.assert_close(own[name], summed)
    name = 'backbone.stages.3.blocks.1.mixer.proj.weight'
    assert torch.equal(own[name], weights[name])
    assert own['head.fc.weight'].shape == (5, 512)


@pytest.mark.parametrize('name', ['cyclemlp_b1', 'cyclemlp_tiny', 'vip_small'])
def test_first_convolution(name):
    check_first_convolution(name)


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(timm.list_models(module='timm')))
def test_first_convolution_of_all(name):
    check_first_convolution(name)


def check_first_convolution(name):
    model = timm.create_model(name, in_chans=2)
    first = next(
        (x for x in model.modules() if isinstance(x, torch.nn.Conv2d)), None
    )
    named = model.default_cfg['first_conv']
    if name.startswith('eamlp'):
        assert named is None
    else:
        assert model.get_submodule(named) is first
        assert first.in_channels == 2


def test_layer_decay_of_timm():
    from timm.optim import param_groups_layer_decay

    model = timm.create_model('activemlp_xtiny')
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    scales = {}
    names = {id(p): name for name, p in model.named_parameters()}
    for group in groups:
        for parameter in group['params']:
            scales[names[id(parameter)]] = group['lr_scale']
    assert scales['head.fc.weight'] == 1
    order = [
        'backbone.downsample_layers.0.weight',
        'backbone.stages.0.blocks.0.mixer.proj.weight',
        'backbone.stages.2.blocks.3.mixer.proj.weight',
        'backbone.stages.3.blocks.1.mixer.proj.weight',
        'head.fc.weight',
    ]
    found = [scales[name] for name in order]
    assert found == sorted(set(found))


def test_names_are_there_whatever_is_imported_first():
    for imports in ('timm, mmactive', 'mmactive, timm'):
        code = (
            f'import {imports}\n'
            'names = timm.list_models("activemlp*")\n'
            'assert "activemlp_tiny" in names, names\n'
            'assert "cyclemlp_b2" in timm.list_models(module="timm")'
        )
        subprocess.run([sys.executable, '-c', code], check=True)


def test_torch_hub():
    model = torch.hub.load(
        str(ROOT), 'activemlp_xtiny', source='local', num_classes=3
    )
    assert model.num_classes == 3
