# Copyright (c) mmactive contributors. All rights reserved.
"""What the command line changes in a config."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmactive.engine.options import load_config, make_parser, merge_options

COCO = 'configs/coco/retinanet_activemlp-xtiny_fpn_1x_coco.py'
ADE20K = 'configs/ade20k/fpn_activemlp-xtiny_8xb4-40k_ade20k-512x512.py'


def datasets(cfg):
    return [
        cfg[f'{split}_dataloader'].dataset
        for split in ('train', 'val', 'test')
    ]


@pytest.mark.parametrize('root', ['/a b/coco128', '/a b/coco128/'])
def test_data_root(root):
    cfg = Config.fromfile(COCO)
    merge_options(cfg, dict(data_root=root))
    for dataset in datasets(cfg):
        assert dataset.data_root == '/a b/coco128/'
        assert dataset.ann_file.startswith('annotations/')
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        annotations = '/a b/coco128/annotations/instances_val2017.json'
        assert evaluator.ann_file == annotations
    assert 'data/coco' not in cfg.dump()

    cfg = Config.fromfile(ADE20K)
    merge_options(cfg, {'data_root': root})
    for dataset in datasets(cfg):
        assert dataset.data_root == '/a b/coco128'
        assert dataset.data_prefix.img_path.startswith('images/')


def test_data_root_of_one_dataset():
    cfg = Config.fromfile(COCO)
    options = {'train_dataloader.dataset.data_root': 'b', 'data_root': 'a'}
    merge_options(cfg, options)
    train, val, _ = datasets(cfg)
    assert (train.data_root, val.data_root) == ('b', 'a/')


def test_pretrained():
    cfg = Config.fromfile(COCO)
    merge_options(cfg, dict(pretrained='my.pth'))
    assert cfg.model.backbone.init_cfg.checkpoint == 'my.pth'
    with pytest.raises(TypeError, match='pretrained: expected a path.*None'):
        merge_options(cfg, dict(pretrained=None))


@pytest.mark.parametrize(
    ('name', 'own', 'setting'),
    [
        ('pretrained', 'model.backbone.init_cfg.checkpoint', None),
        ('data_root', 'train_dataloader.dataset.data_root', '<train, val'),
    ],
)
def test_setting_that_is_not_the_variable(name, own, setting):
    """What an inheriting config has set goes before an option, or nothing."""
    cfg = Config.fromfile(COCO)
    cfg.merge_from_dict({own: 'mine'})
    message = f"{name}: the config has a {setting or own}.*'mine'; set that"
    with pytest.raises(ValueError, match=message):
        merge_options(cfg, {name: 'other'})


def test_variable_that_does_not_count(tmp_path, recwarn):
    path = tmp_path / 'config.py'
    base = f"_base_ = '{Path(COCO).resolve()}'\npretrained = 'mine.pth'\n"
    both = base + (
        'model = dict(backbone=dict(init_cfg=dict(checkpoint=pretrained)))\n'
    )
    for text, warned in ((base, True), (both, False)):
        path.write_text(text)
        recwarn.clear()
        load_config(make_parser('').parse_args([str(path)]))
        messages = [str(w.message) for w in recwarn]
        assert warned == any("pretrained is 'mine.pth'" in m for m in messages)


def test_similar_paths_stay():
    cfg = Config(dict(data_root='data/a', x=['data/a/1', 'data/ab'], y='a'))
    merge_options(cfg, dict(data_root='b'))
    assert cfg.x == ['b/1', 'data/ab']
    assert cfg.y == 'a'


def test_other_options():
    cfg = Config(dict(a=dict(b=1), data_root='x'))
    merge_options(cfg, {'a.b': 2})
    assert (cfg.a.b, cfg.data_root) == (2, 'x')


@pytest.mark.parametrize(
    ('name', 'setting'),
    [
        ('data_root', '<train, val, test>_dataloader.dataset.data_root'),
        ('pretrained', 'model.backbone.init_cfg.checkpoint'),
    ],
)
@pytest.mark.parametrize('content', [{}, dict(data_root=None, pretrained='')])
def test_variable_without_effect(content, name, setting):
    message = f'{name}: the config makes nothing .* set {setting} instead'
    with pytest.raises(ValueError, match=message):
        merge_options(Config(content), {name: 'x'})
