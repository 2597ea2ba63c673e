# Copyright (c) mmactive contributors. All rights reserved.
"""Variants and peers of the digits' networks: one size, one recipe."""

from copy import deepcopy

import pytest
import torch
from config_checks import load_config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint

from mmactive.engine.checks.checkpoint import loading
from mmactive.registry import MODELS
from mmactive.utils.complexity import build_model, count_complexity

TASKS = dict(
    classifier='configs/digits/{}/{}_digits.py',
    detector='configs/digits/{}/mask-rcnn_{}_fpn_digits.py',
    segmentor='configs/digits/{}/fpn_{}_digits.py',
    pointer='configs/digits/{}/{}_pointed-digits.py',
)
OWN = ('.', 'activemlp-xtiny')
# Offsets of a token, by stage, and stages with PEG
ABLATION = {
    'activemlp-xtiny-zero-offset': ([], 0),
    'activemlp-xtiny-star-no-peg': ([64, 64, 160, 128], 0),
    'activemlp-xtiny-star': ([64, 64, 160, 128], 4),
    'activemlp-xtiny-star-one-offset': ([2, 2, 2, 2], 4),
}
PEERS = [
    *('cyclemlp-b1', 'asmlp-w70', 'shiftvit-w84', 'wavemlp-tiny-dw'),
    *('swin-w72', 'pvt-2232', 'resnet18-w72'),
]
# Where it is another than ActiveMLP's, which does not suit
LEARNING_RATES = {
    ('classifier', 'swin-w72'): 2e-4,
    ('pointer', 'swin-w72'): 2e-4,
}
# One of each way to write a config
QUICK = ('activemlp-xtiny-star', 'cyclemlp-b1', 'swin-w72', 'pvt-2232')
ALL = [
    pytest.param(
        *(folder, name),
        marks=[] if name in QUICK else [pytest.mark.slow],
        id=name,
    )
    for folder, names in (('ablation', ABLATION), ('peers', PEERS))
    for name in names
]


def load(task, folder, name):
    return load_config(TASKS[task].format(folder, name))


@pytest.mark.parametrize('name', ABLATION)
def test_ablation(name):
    offsets, num_pegs = ABLATION[name]
    backbone = build_model(load('classifier', 'ablation', name)).backbone
    assert [len(stage.blocks) for stage in backbone.stages] == [2, 2, 4, 2]
    assert [
        block.offset_layer[1].out_features
        for stage in backbone.stages
        for block in stage.blocks
        if block.offset_layer is not None
    ] == offsets
    assert sum(stage.peg is not None for stage in backbone.stages) == num_pegs


@pytest.mark.parametrize('name', PEERS)
def test_size(name):
    own, peer = (
        count_complexity(build_model(load('classifier', *key)), (224, 224))
        for key in (OWN, ('peers', name))
    )
    assert peer.params == pytest.approx(own.params, rel=0.05)
    assert peer.macs == pytest.approx(own.macs, rel=0.2)


def test_initial_weights_of_swin():
    """Its published training starts from them; mmpretrain's class does not."""
    cfg = load('classifier', 'peers', 'swin-w72')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    weights = [
        module.weight
        for module in model.backbone.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    assert len(weights) == 4 * sum((2, 2, 6, 2)) + 3
    for weight in weights:
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)


def without_backbone(cfg):
    """The model but for the backbone and what follows from it."""
    model = deepcopy(cfg.model.to_dict())
    backbone = model.pop('backbone')
    backbone = backbone.get('backbone', backbone)
    assert backbone['drop_path_rate'] == 0
    for part in ('neck', 'head'):
        if model.get(part):
            model[part].pop('in_channels', None)
    if cfg.default_scope == 'mmpretrain':
        model.pop('neck', None)  # averages what the backbone does not
    return model


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize(('folder', 'name'), ALL)
def test_recipe(task, folder, name):
    """Nothing but the backbone differs from ActiveMLP-xTiny's."""
    own, cfg = deepcopy(load(task, *OWN)), load(task, folder, name)
    if (task, name) in LEARNING_RATES:
        own.optim_wrapper.optimizer.lr = LEARNING_RATES[task, name]
    assert without_backbone(cfg) == without_backbone(own)
    for key in (
        *('train_dataloader', 'test_dataloader', 'test_evaluator'),
        *('train_cfg', 'param_scheduler', 'custom_hooks', 'randomness'),
        'default_hooks',
    ):
        assert cfg.get(key) == own.get(key), key
    for key in ('type', 'optimizer', 'clip_grad'):
        assert cfg.optim_wrapper.get(key) == own.optim_wrapper.get(key)
    decay = dict(cfg.optim_wrapper.paramwise_cfg)
    expected = dict(own.optim_wrapper.paramwise_cfg)
    for keys in (decay, expected):
        custom = dict(keys.get('custom_keys') or {})
        custom.pop('.peg.', None)
        keys['custom_keys'] = custom
    assert decay == expected


@pytest.mark.parametrize('task', [*TASKS][1:])
@pytest.mark.parametrize(('folder', 'name'), ALL)
def test_starts_from_its_classifier(task, folder, name, tmp_path):
    def build(task, **backbone):
        cfg = deepcopy(load(task, folder, name))
        cfg.model.backbone.update(backbone)
        init_default_scope(cfg.default_scope)
        return cfg, MODELS.build(cfg.model)

    _, classifier = build('classifier')
    path = str(tmp_path / 'classifier.pth')
    torch.save(dict(state_dict=classifier.state_dict()), path)
    cfg = load(task, folder, name)
    expected = f'work_dirs/{name}_digits/epoch_10.pth'
    if cfg.get('load_from'):
        allow_partial = task != 'pointer'  # which has the classifier's head
        assert cfg.load_from == expected
        assert cfg.get('allow_partial', False) == allow_partial
        _, model = build(task)
        with loading(starts=True, allow_partial=allow_partial):
            load_checkpoint(model, path)
    else:
        init_cfg = cfg.model.backbone.init_cfg
        assert init_cfg.checkpoint == cfg.pretrained == expected
        _, model = build(task, init_cfg=dict(init_cfg, checkpoint=path))
        model.init_weights()
    weights = model.backbone.state_dict()
    for key, value in classifier.backbone.state_dict().items():
        torch.testing.assert_close(weights[key], value, rtol=0, atol=0)
