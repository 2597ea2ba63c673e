# Copyright (c) mmactive contributors. All rights reserved.
"""What the command line changes in a config."""

import pytest
from mmengine.config import Config

from mmactive.utils.runner import merge_options

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
