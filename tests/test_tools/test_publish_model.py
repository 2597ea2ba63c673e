# Copyright (c) mmactive contributors. All rights reserved.
"""What is published of a training, and who can read it."""

import hashlib
import json
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, init_detector
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmseg.apis import init_model

from mmactive.utils.checkpoint import load

safetensors = pytest.importorskip('safetensors.torch')
TOOL = 'model_converters/publish_model.py'

AVERAGED = """
_base_ = 'classifier.py'
custom_hooks = [dict(type='EMAHook', momentum=0.5)]
default_hooks = dict(checkpoint=dict(
    published_keys=['meta', 'state_dict'], published_suffix='.safetensors'))
"""


@pytest.fixture
def publish(run_tool):
    """Publishes a checkpoint; returns the path of the file."""

    def run(src, dst, *options):
        run_tool(TOOL, src, dst, *options)
        dst = Path(dst)
        (path,) = dst.parent.glob(f'{dst.stem}-*{dst.suffix}')
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.name == f'{dst.stem}-{digest[:8]}{dst.suffix}'
        return str(path)

    return run


def assert_equal(weights, expected):
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_trained_classifier(workspace, run_tool, publish, monkeypatch):
    (workspace / 'averaged.py').write_text(AVERAGED)
    run_tool('train.py', 'averaged.py', '--work-dir', 'run', '--no-validate')
    source = load('run/epoch_1.pth')
    averaged = source['state_dict']
    pth = publish('run/epoch_1.pth', 'new/tiny.pth')
    tensors = publish('run/epoch_1.pth', 'new/tiny.safetensors')

    # By those who know nothing of mmengine
    published = torch.load(pth, weights_only=True)
    assert published.keys() == {'meta', 'state_dict'}
    assert published['meta']['dataset_meta'] == dict(classes=('dark', 'light'))
    assert_equal(published['state_dict'], averaged)
    assert_equal(safetensors.load_file(tensors), averaged)
    monkeypatch.setenv('TORCH_HOME', 'home')
    url = (workspace / pth).as_uri()
    fetched = torch.hub.load_state_dict_from_url(url, check_hash=True)
    assert_equal(fetched['state_dict'], averaged)

    # The hook publishes the same.
    (own,) = Path('run').glob('*.safetensors')
    assert own.read_bytes() == Path(tensors).read_bytes()
    assert load(tensors)['meta'] == json.loads(json.dumps(published['meta']))

    # The weights before averaging
    last = torch.load(
        publish('run/epoch_1.pth', 'last.pth', '--no-ema'), weights_only=True
    )['state_dict']
    name = 'backbone.downsample_layers.0.weight'
    assert torch.equal(last[name], source['ema_state_dict'][f'module.{name}'])
    assert not torch.equal(last[name], averaged[name])

    metrics = []
    for path in ('run/epoch_1.pth', pth, tensors):
        out = ('--out-item', 'metrics', '--out', 'metrics.json')
        run_tool('test.py', 'averaged.py', path, *out)
        metrics.append(json.loads(Path('metrics.json').read_text()))
    assert metrics[0] == metrics[1] == metrics[2]

    for path in (pth, tensors):
        model = mmpretrain.get_model('averaged.py', pretrained=path)
        assert_equal(model.state_dict(), averaged)
        init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
        cfg = Config.fromfile('averaged.py').model.backbone
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            backbone = MODELS.build(dict(cfg, init_cfg=init_cfg))
        backbone.init_weights()
        weight = backbone.downsample_layers[0].weight
        assert torch.equal(weight, averaged[name])
        # It has no states that a training could go on with.
        start = ('train.py', 'averaged.py', '--work-dir', path + '.run')
        with pytest.raises(ValueError, match=f'{path}: no training can go on'):
            run_tool(*start, '--resume', path)
    options = ('--cfg-options', f'load_from={tensors}')
    options += ('optim_wrapper.optimizer.lr=0.0',)
    run_tool(*start, '--no-validate', *options)
    assert_equal(load(path + '.run/epoch_1.pth')['state_dict'], averaged)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize(
    ('name', 'init'), [('detector', init_detector), ('segmentor', init_model)]
)
def test_dense_models(name, init, suffix, workspace, publish):
    cfg = Config.fromfile(f'{name}.py')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        weights = MODELS.build(cfg.model).state_dict()
    palette = np.array([[1, 2, 3]], np.uint8)
    meta = dict(
        cfg=cfg.pretty_text,
        dataset_meta=dict(classes=('square',), palette=palette),
        epoch=12,
        other=torch.float32,
    )
    torch.save(dict(meta=meta, state_dict=weights, optimizer={}), 'it.pth')
    path = publish('it.pth', f'published{suffix}')
    if suffix == '.pth':
        assert 'other' not in torch.load(path, weights_only=True)['meta']
    model = init(f'{name}.py', path, device='cpu')
    assert_equal(model.state_dict(), weights)
    assert list(model.dataset_meta['classes']) == ['square']
    if name == 'segmentor':  # mmdet takes the palette of the config.
        assert model.dataset_meta['palette'] == [[1, 2, 3]]
    if name == 'detector':
        # The config is in the checkpoint.
        model = DetInferencer(weights=path, device='cpu').model
        assert_equal(model.state_dict(), weights)


@pytest.mark.parametrize(
    ('content', 'options', 'message'),
    [
        ([1], [], 'it.pth: expected a dict of weights, got a list'),
        (
            {'model': {'a': 1}},
            [],
            r"it.pth: .*'state_dict', but .*\['model'\]",
        ),
        ({'state_dict': {}}, [], "expected a checkpoint with weights in 'sta"),
        ({'a': torch.ones(1)}, ['--no-ema'], 'it has no averaged weights'),
        (
            {'a': torch.ones(1)},
            ['--save-keys', 'state_dict', 'optimizer'],
            r"--save-keys: .*\['state_dict'\], got \['optimizer'\]",
        ),
        (
            {'state_dict': {'a': 'text'}},
            [],
            r"it.safetensors: .* weights and meta alone, but got \['a'\]",
        ),
        (None, [], 'it.pth can not be found'),
    ],
)
def test_bad_input(content, options, message, tmp_path, run_tool, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        torch.save(content, 'it.pth')
    before = list(tmp_path.iterdir())
    with pytest.raises(SystemExit, match=message):
        run_tool(TOOL, 'it.pth', 'it.safetensors', *options)
    assert list(tmp_path.iterdir()) == before
