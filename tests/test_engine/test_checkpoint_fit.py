# Copyright (c) mmactive contributors. All rights reserved.
import logging
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint

from mmactive.engine.checks.checkpoint import loading
from mmactive.models import ActiveMLP


@pytest.fixture(autouse=True)
def scope(monkeypatch):
    # The values of all parameters, in the log
    monkeypatch.setattr(BaseModule, '_dump_init_info', lambda self: None)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture(autouse=True)
def log():
    """What has been logged, as (level, message)."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda r: records.append((r.levelname, r.getMessage()))
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def make_backbone(**kwargs):
    cfg = dict(type='mmactive.ActiveMLP', arch=get_arch(), out_indices=(1,))
    return MODELS.build({**cfg, **kwargs})


def get_arch():
    """One with few stages, out of the first that is published."""
    first = dict(next(iter(ActiveMLP.arch_settings.values())))
    short = {}
    for key, value in first.items():
        short[key] = value[:2] if isinstance(value, (list, tuple)) else value
    return short


def make_classifier(num_classes=3, **kwargs):
    kwargs = dict(out_indices=(1,), **kwargs)
    dims = get_arch()['dims'][-1]
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(
                type='mmactive.ActiveMLP', arch=get_arch(), **kwargs
            ),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead', num_classes=num_classes, in_channels=dims
            ),
        )
    )


@pytest.fixture
def save(tmp_path):
    def run(weights, name='it.pth'):
        torch.save(dict(state_dict=weights), tmp_path / name)
        return str(tmp_path / name)

    return run


@pytest.fixture
def weights():
    torch.manual_seed(1)
    return make_classifier().state_dict()


def init(path, make=make_backbone, prefix='backbone.', **kwargs):
    """Builds a backbone that starts from a checkpoint."""
    cfg = dict(type='Pretrained', checkpoint=path, **kwargs)
    if prefix is not None:
        cfg['prefix'] = prefix
    backbone = make(init_cfg=cfg)
    backbone.init_weights()
    return backbone


def rename(weights, old, new):
    return {name.replace(old, new): x for name, x in weights.items()}


def get_lines(log, path):
    """The lines about a file that say more than that it is read."""
    return [(k, m) for k, m in log if m.startswith(f'{path}: ')]


def test_all_came(save, weights, log):
    path = save(weights)
    model = make_classifier()
    load_checkpoint(model, path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    ((level, line),) = get_lines(log, path)
    count = len(dict(model.named_parameters()))
    assert level == 'INFO'
    assert f'{count} of {count} parameters of ImageClassifier loaded' in line


def test_distributed_prefix(save, weights):
    path = save({f'module.{name}': x for name, x in weights.items()})
    load_checkpoint(make_classifier(), path)
    key = 'stages.0.blocks.0.norm1.weight'
    assert key in init(path).state_dict()


def test_norms_of_a_dense_model_are_fresh(save, weights, log):
    weights['backbone.norm1.weight'] += 1
    path = save(weights)
    backbone = init(path, lambda **kw: make_backbone(out_indices=(0, 1), **kw))
    assert (backbone.norm0.weight == 1).all()
    assert (backbone.norm1.weight == 2).all()
    ((level, line),) = get_lines(log, path)
    assert level == 'INFO'
    assert line.endswith('; fresh: norm0')
    assert not any(level == 'WARNING' for level, _ in log)
    # A test has no use for fresh norms.
    model = make_classifier()
    model.backbone = make_backbone(out_indices=(0, 1))
    with pytest.raises(ValueError, match='norm0.weight'):
        load_checkpoint(model, path)


def drop(weights):
    return {k: x for k, x in weights.items() if 'blocks.0.norm1' not in k}


def reshape(weights):
    name = 'backbone.stages.0.blocks.0.norm1.weight'
    return {**weights, name: torch.ones(5)}


PARTS = {
    'dropped': (drop, ['missing: backbone.stages.0', 'blocks.0.norm1.weight']),
    'renamed part': (
        lambda weights: rename(weights, 'mixer.', 'mix.'),
        ['missing: ', 'mixer.fc_', 'unexpected: ', 'mix.fc_', ' more'],
    ),
    'other shape': (reshape, ['of another shape: ', '(5,) instead of (64,)']),
    'renamed': (
        lambda weights: rename(weights, 'backbone.', 'net.'),
        ["'net.'"],
    ),
    'deeper': (
        lambda weights: {
            **weights,
            **rename(weights, 'blocks.1.', 'blocks.2.'),
        },
        ['unexpected: ', 'blocks.2.'],
    ),
    'empty': (lambda weights: {}, []),
}


@pytest.mark.parametrize('where', ['api', 'init', 'start'])
@pytest.mark.parametrize('part', PARTS)
def test_parts(part, where, save, weights):
    """Of a backbone everything came, or there is an error."""
    change, words = PARTS[part]
    path = save(change(weights))
    model = make_classifier()
    load = init if where == 'init' else partial(load_checkpoint, model)
    with (
        loading(starts=where == 'start'),
        pytest.raises(ValueError, match='it.pth: ') as caught,
    ):
        load(path)
    message = str(caught.value)
    assert message.startswith(f'{path}: ')
    if where != 'init':
        assert all(word in message for word in words), message
        assert 'parameters of ImageClassifier fit' in message


def test_allow_partial(save, weights, log):
    path = save(drop(weights))
    backbone = init(path, allow_partial=True)
    name = 'stages.0.blocks.1.norm1.bias'
    assert torch.equal(
        backbone.state_dict()[name], weights[f'backbone.{name}']
    )
    assert 'fresh: stages.0.blocks.0.norm1' in get_lines(log, path)[0][1]
    with loading(allow_partial=True):
        load_checkpoint(make_classifier(), path)
        # Nothing is no part.
        with pytest.raises(ValueError, match='0 of'):
            load_checkpoint(make_classifier(), save(dict(x=torch.ones(1))))


@pytest.mark.parametrize('in_channels', [1, 2, 6])
def test_adapt_in_channels(in_channels, save, weights, log):
    """As timm does it, by an option that the error names."""
    adapt = pytest.importorskip('timm.models').adapt_input_conv
    path = save(weights)
    make = partial(make_backbone, in_channels=in_channels)
    message = f'images of 3 channels, .* for {in_channels}: adapt_in_channels='
    with pytest.raises(ValueError, match=message):
        init(path, make)
    name = 'downsample_layers.0.weight'
    expected = adapt(in_channels, weights[f'backbone.{name}'])
    backbone = init(path, make, adapt_in_channels=True)
    torch.testing.assert_close(backbone.state_dict()[name], expected)
    assert get_lines(log, path)[-1][1].endswith('adapted: downsample_layers.0')
    model = make_classifier(in_channels=in_channels)
    with loading(adapt_in_channels=True):
        load_checkpoint(model, path)
    own = model.state_dict()
    torch.testing.assert_close(own.pop(f'backbone.{name}'), expected)
    assert all(torch.equal(x, weights[key]) for key, x in own.items())


def test_adapt_nothing_else(save, weights):
    """Another stem is no matter of the images' channels."""
    name = 'backbone.downsample_layers.0.weight'
    other = {**weights, name: torch.ones(64, 1, 3, 3)}
    with pytest.raises(ValueError, match=r'downsample_layers.0.weight \(64'):
        init(save(other), adapt_in_channels=True)


def test_new_head(save, weights, log):
    """Training makes a new head, a test must not measure a random one."""
    path = save(weights)
    with loading(starts=True):
        load_checkpoint(make_classifier(5), path)
    ((level, line),) = get_lines(log, path)
    assert level == 'INFO'
    assert line.endswith('fresh: head.fc')
    with (
        loading(starts=False),
        pytest.raises(ValueError, match='trained for 5 classes'),
    ):
        load_checkpoint(make_classifier(5), path)
    # As `mmpretrain.get_model(..., head=dict(num_classes=5))` does
    load_checkpoint(make_classifier(5), path)
    assert get_lines(log, path)[-1][0] == 'WARNING'


def test_dtypes(save, weights):
    load_checkpoint(
        make_classifier(), save({k: x.half() for k, x in weights.items()})
    )
    load_checkpoint(
        make_classifier(), save({k: x.double() for k, x in weights.items()})
    )


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (torch.ones(64, dtype=torch.int64), 'is of dtype torch.int64'),
        (torch.ones(64, dtype=torch.bool), 'is of dtype torch.bool'),
        (torch.ones(64, dtype=torch.complex64), 'is of dtype torch.complex64'),
        ('text', 'is a str'),
        (np.ones(64, 'float32'), 'is a ndarray'),
        (torch.full((64,), np.nan), '64 of the 64 numbers .* NaN or infinite'),
        (torch.tensor([np.inf] + [1.0] * 63), '1 of the 64 numbers'),
    ],
)
def test_bad_weights(value, message, save, weights):
    name = 'backbone.stages.0.blocks.0.norm1.weight'
    path = save({**weights, name: value})
    for load in (init, lambda path: load_checkpoint(make_classifier(), path)):
        with pytest.raises(ValueError, match=message) as caught:
            load(path)
        assert path in str(caught.value)
        assert 'stages.0.blocks.0.norm1.weight' in str(caught.value)


def get_weights(arch):
    """Weights of a classifier of that variant, of next to no size."""
    with torch.device('meta'):
        names = ActiveMLP(arch).state_dict()
    return {
        f'backbone.{name}': torch.zeros(()).expand(x.shape)
        for name, x in names.items()
    }


@pytest.mark.parametrize(
    ('held', 'wanted'), [('tiny', 'xtiny'), ('xtiny', 'tiny')]
)
def test_variant_is_named(held, wanted, save):
    path = save(get_weights(held))
    message = f'activemlp-{held}, but the model has activemlp-{wanted}'
    with pytest.raises(ValueError, match=message):
        init(path, lambda **kw: ActiveMLP(wanted, **kw))


def test_causes(save, weights, tmp_path):
    with pytest.raises(ValueError, match="set init_cfg.prefix to 'backbone.'"):
        init(save(weights), prefix=None)
    with pytest.raises(ValueError, match="begins with the prefix 'net.'"):
        init(save(weights), prefix='net')
    torch.save(dict(model=weights), tmp_path / 'nested.pth')
    with pytest.raises(ValueError, match="weights lie under 'model'"):
        load_checkpoint(make_classifier(), str(tmp_path / 'nested.pth'))
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='list.pth: expected a dict'):
        init(str(tmp_path / 'list.pth'))


def make_resnet(depth, **kwargs):
    return lambda **kw: MODELS.build(
        dict(type='ResNet', depth=depth, **kwargs, **kw)
    )


def test_models_of_others(save, log):
    """Within our runner, and as lenient as the libraries' configs need."""
    resnet = make_resnet(18)()
    weights = resnet.state_dict()
    path = save({**weights, 'fc.weight': torch.ones(1000, 512)})
    # Of others in the same process: as mmengine has it
    init(path, make_resnet(34), prefix=None)
    assert any('do not match exactly' in line for _, line in log)
    log.clear()
    with loading(all_models=True):
        init(path, make_resnet(18), prefix=None)
        # As in `faster-rcnn_r50-caffe-c4`
        first = dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1))
        init(path, make_resnet(18, out_indices=(2,), **first), prefix=None)
        assert not any(level == 'WARNING' for level, _ in log)
        with pytest.raises(ValueError, match='layer1.2.conv1.weight'):
            init(path, make_resnet(34), prefix=None)
        renamed = save(rename(weights, 'layer2.', 'stage2.'), 'renamed.pth')
        with pytest.raises(ValueError, match='layer2.0.conv1.weight'):
            init(renamed, make_resnet(18), prefix=None)

        def extend(**kwargs):
            extended = make_resnet(18)(**kwargs)
            extended.layer2[0].conv2_offset = torch.nn.Conv2d(128, 18, 3)
            return extended

        # As deformable convolutions and plugins do
        init(path, extend, prefix=None)
