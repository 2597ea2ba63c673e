# Copyright (c) mmactive contributors. All rights reserved.
import argparse
from functools import partial

import published
import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import MODELS
from reference_activemlp import ARCHS, ReferenceActiveMLP, randomize

from mmactive.models import ActiveMLP
from mmactive.utils.checkpoint import load

TOOL = 'model_converters/to_mmactive.py'


@pytest.fixture
def convert(tmp_path, run_tool, monkeypatch):
    """Saves a checkpoint, converts it and loads the result."""
    monkeypatch.chdir(tmp_path)

    def run(checkpoint, *options):
        torch.save(checkpoint, 'src.pth')
        run_tool(TOOL, 'src.pth', 'new folder/dst.pth', *options)
        return torch.load('new folder/dst.pth', weights_only=True)

    return run


def make_reference(arch='xtiny', **kwargs):
    with torch.device('meta'):  # saves an initialization
        reference = ReferenceActiveMLP(arch, **kwargs)
    return randomize(reference.to_empty(device='cpu')).eval()


def make_zeros(arch='xtiny', **kwargs):
    """Returns a state dict that takes next to no memory."""
    with torch.device('meta'):
        layout = ReferenceActiveMLP(arch, **kwargs).state_dict()
    return {k: torch.zeros(()).expand(x.shape) for k, x in layout.items()}


def make_images(size=(64, 96)):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, *size, generator=generator)


def pick(*quick):
    """Marks the variants that are not quick enough for the default run."""
    return [
        arch if arch in quick else pytest.param(arch, marks=pytest.mark.slow)
        for arch in ARCHS
    ]


assert_close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('arch', pick('xtiny', 'base'))
def test_logits_of_a_classifier(arch, convert, capsys):
    reference = make_reference(arch, num_classes=10)
    converted = convert({'state_dict': reference.state_dict()})
    assert f"ActiveMLP, arch='{arch}'" in capsys.readouterr().out
    model = MODELS.build(converted['meta']['model']).eval()
    model.load_state_dict(converted['state_dict'])
    images = make_images((32, 64))
    with torch.no_grad():
        assert_close(model(images), reference(images))


@pytest.mark.parametrize('arch', pick('tiny'))
def test_features_of_a_dense_backbone(arch, convert):
    reference = make_reference(arch, dense=True)
    converted = convert(reference.state_dict())
    model = MODELS.build(converted['meta']['model'])
    model.load_state_dict(converted['state_dict'])
    images = make_images((32, 64))
    with torch.no_grad():
        for feature, expected in zip(model.eval()(images), reference(images)):
            assert_close(feature, expected)


def test_a_classifier_serves_dense_prediction(convert):
    """By ``prefix``, as in OpenMMLab's configs, or as a dense backbone."""
    reference = make_reference(num_classes=10)
    images = make_images()
    with torch.no_grad():
        expected = reference.norm(run_stages(reference, images))
    for options, prefix in (([], 'backbone.'), (['--target', 'dense'], None)):
        convert(reference.state_dict(), *options)
        init_cfg = dict(
            type='Pretrained', checkpoint='new folder/dst.pth', prefix=prefix
        )
        model = ActiveMLP('xtiny', out_indices=(0, 1, 2, 3), init_cfg=init_cfg)
        model.init_weights()
        with torch.no_grad():
            feature = model.eval()(images)[3]
        assert_close(feature, expected.permute(0, 3, 1, 2))


def run_stages(reference, images):
    """Returns the tokens that a reference classifier norms."""
    tokens = []
    handle = reference.norm.register_forward_pre_hook(
        lambda module, args: tokens.append(args[0])
    )
    reference(images)
    handle.remove()
    return tokens[0]


def test_averaged_weights_come_first(convert, capsys):
    plain = make_zeros(num_classes=3)
    averaged = {f'module.{k}': x + 1 for k, x in plain.items()}
    checkpoint = dict(
        model=plain,
        model_ema=averaged,
        optimizer=dict(state={}),
        epoch=299,
        args=argparse.Namespace(lr=1e-3, data_path='a'),
    )
    key = 'head.fc.weight'
    taken = convert(checkpoint)['state_dict'][key]
    assert torch.equal(taken, plain['head.weight'] + 1)
    output = capsys.readouterr().out
    assert "'model_ema'" in output
    assert "not ['model']" in output
    taken = convert(checkpoint, '--key', 'model')['state_dict'][key]
    assert torch.equal(taken, plain['head.weight'])


def drop(name):
    return lambda weights: weights.pop(name)


def put(name, *shape):
    return lambda weights: weights.update({name: torch.zeros(shape)})


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (put('fc.weight', 3), r'\bfc\.weight is unknown'),
        (
            put('blocks.0.0.atm.atm_h.scale', 64),
            r'blocks\.0\.0\.atm\.atm_h\.scale is unknown',
        ),
        (
            drop('blocks.2.1.mlp.fc1.bias'),
            r'blocks\.2\.1\.mlp\.fc1\.bias is missing',
        ),
        (drop('head.bias'), r'head\.bias is missing'),
        (
            put('blocks.0.1.offset_layer.1.bias', 64),
            r'blocks\.0\.1\.offset_layer\.1\.bias is unknown',
        ),
        (
            put('blocks.1.0.atm.atm_w.weight', 128, 128, 3, 3),
            r'atm_w\.weight: expected shape \(128, 128, 1, 1\), got \(128, 12',
        ),
        (
            put('blocks.1.0.offset_layer.1.weight', 32, 128),
            r'offset_layer\.1\.weight: expected shape \(64, 128\), got \(32,',
        ),
        (
            put('blocks.2.4.norm1.weight', 320),
            r"closest to ActiveMLP, arch='xtiny'.*2\.4\.norm1\.weight is",
        ),
        (put('norm_0.weight', 64), r'norm_0\.weight is unknown'),
    ],
)
def test_other_layouts_are_refused(spoil, message, convert, tmp_path):
    weights = make_zeros(num_classes=3)
    spoil(weights)
    with pytest.raises(SystemExit, match=rf'(?s)src\.pth: .*{message}'):
        convert(weights)
    assert [path.name for path in tmp_path.iterdir()] == ['src.pth']


@pytest.mark.parametrize(
    ('checkpoint', 'options', 'message'),
    [
        ([torch.zeros(1)], [], 'expected a dict of tensors, got list'),
        ({}, [], 'expected a dict of tensors'),
        ({'model': 3}, [], "expected a dict of tensors in 'model'"),
        ({'a.b': torch.zeros(1)}, [], r"names of a network .*'ActiveMLP'"),
        ({'epoch': 3}, [], r"expected tensors, .*\['epoch'\]"),
        ({'model': {}}, ['--key', 'ema'], r"--key: .*\['model'\], got 'ema'"),
    ],
)
def test_what_holds_no_weights(checkpoint, options, message, convert):
    with pytest.raises(SystemExit, match=message):
        convert(checkpoint, *options)


def test_a_dense_backbone_makes_no_classifier(convert):
    weights = make_zeros(dense=True)
    with pytest.raises(SystemExit, match='--target: expected dense'):
        convert(weights, '--target', 'classifier')


@pytest.mark.parametrize('name', ['GFNet-ti', 'WaveMLP-T_dw'])
def test_backbones_of_classifiers_describe_themselves(name, convert):
    """GFNet without the norm of a classifier."""
    weights = published.make_zeros(name)
    converted = convert(weights, '--target', 'dense')
    with torch.device('meta'):
        model = MODELS.build(converted['meta']['model'])
    model.load_state_dict(converted['state_dict'], assign=True)


def test_code_is_not_run(convert, tmp_path):
    class Malign:
        def __reduce__(self):
            return open, (str(tmp_path / 'owned'), 'w')

    with pytest.raises(Exception, match=r'src\.pth is refused'):
        convert({'model': Malign()})
    assert not (tmp_path / 'owned').exists()


def test_an_old_checkpoint_survives_failure(convert, tmp_path, monkeypatch):
    weights = make_zeros(num_classes=3)
    convert(weights)
    target = tmp_path / 'new folder' / 'dst.pth'
    before = target.read_bytes()
    save = torch.save

    def fail(checkpoint, file):
        if isinstance(file, str):
            return save(checkpoint, file)
        file.write(b'half')
        raise OSError('disk full')

    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(OSError, match='disk full'):
        convert(weights)
    assert [path.name for path in target.parent.iterdir()] == ['dst.pth']
    assert target.read_bytes() == before


def test_reverse(convert, tmp_path, run_tool):
    reference = make_reference(num_classes=10)
    convert({'model': reference.state_dict()})
    run_tool(TOOL, 'new folder/dst.pth', 'back.pth', '--reverse')
    reverted = torch.load('back.pth', weights_only=True)['model']
    expected = reference.state_dict()
    assert set(reverted) == set(expected)
    assert all(
        torch.equal(reverted[name], expected[name]) for name in expected
    )


def test_safetensors(tmp_path, run_tool, monkeypatch):
    """There and back in the other format."""
    safetensors = pytest.importorskip('safetensors.torch')
    monkeypatch.chdir(tmp_path)
    weights = {k: x.clone() for k, x in make_zeros(num_classes=3).items()}
    weights['head.bias'] += torch.arange(3)
    safetensors.save_file(weights, 'src.safetensors')
    run_tool(TOOL, 'src.safetensors', 'dst.safetensors')
    converted = load('dst.safetensors')
    model = MODELS.build(converted['meta']['model'])
    model.load_state_dict(converted['state_dict'])
    assert model.head.fc.bias.tolist() == [0, 1, 2]
    run_tool(TOOL, 'dst.safetensors', 'back.safetensors', '--reverse')
    reverted = safetensors.load_file('back.safetensors')
    assert reverted.keys() == weights.keys()
    assert all(torch.equal(reverted[name], weights[name]) for name in weights)


def test_a_segmentor(convert, run_tool):
    """The released UperNet, whose names are those of mmseg 0.11."""
    weights = make_zeros('xtiny', dense=True)
    weights = {f'backbone.{name}': x for name, x in weights.items()}
    cfg = get_config(
        'mmactive::ade20k/upernet_activemlp-xtiny_8xb2-160k_ade20k-512x512.py'
    )
    with torch.device('meta'):
        layout = MODELS.build(cfg.model).state_dict()
    for name, tensor in layout.items():
        if not name.startswith('backbone.'):
            # As the released one, of which SyncBN is a part
            weights[name] = (
                torch.rand(()).to(tensor.dtype).expand(tensor.shape)
            )

    converted = convert({'state_dict': weights, 'meta': {}})
    with torch.device('meta'):
        model = MODELS.build(converted['meta']['model'])
    model.load_state_dict(converted['state_dict'], assign=True)
    name = 'decode_head.fpn_bottleneck.conv.weight'
    assert torch.equal(converted['state_dict'][name], weights[name])

    run_tool(TOOL, 'new folder/dst.pth', 'back.pth', '--reverse')
    reverted = torch.load('back.pth', weights_only=True)['state_dict']
    assert set(reverted) == set(weights)

    del weights['decode_head.conv_seg.weight']
    weights['neck.weight'] = torch.zeros(1)
    message = (
        r'(?s)decode_head\.conv_seg\.weight is missing.*neck.weight is un'
    )
    with pytest.raises(SystemExit, match=message):
        convert(weights)
