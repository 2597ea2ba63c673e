# Copyright (c) mmactive contributors. All rights reserved.
"""What the command line changes in a config."""

from pathlib import Path

import pytest
import torch
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
        (
            'pretrained',
            "model = dict(backbone=dict(init_cfg=dict(checkpoint='mine')))",
            'model.backbone.init_cfg.checkpoint of its own',
        ),
        (
            'data_root',
            "train_dataloader = dict(dataset=dict(data_root='mine'))",
            '<train, val, test>_dataloader.dataset.data_root of its own',
        ),
    ],
)
def test_path_that_is_not_the_variable(name, own, setting, tmp_path):
    """What an inheriting config has set goes before an option, or nothing."""
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = '{Path(COCO).resolve()}'\n{own}\n")
    with pytest.raises(ValueError, match=f'{name}: ') as info:
        merge_options(Config.fromfile(path), {name: 'other'})
    if name == 'data_root':
        assert f"{setting}, 'mine'; set that instead" in str(info.value)


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


FILES = dict(
    base="""
rate = 0.1
size = (512, 512)
steps = [dict(type='Load'), dict(type='Crop', size=size)]
norm = dict(type='SyncBN', eps=1e-5)
flag = True
if flag:
    epochs = 10
train_cfg = dict(max_epochs=epochs, name=f'{epochs} epochs')
train_dataloader = dict(dataset=dict(pipeline=steps), size=size)
val_dataloader = dict(dataset=dict(pipeline=steps))
model = dict(norm=norm)
""",
    child="""
_base_ = 'base.py'
epochs, warm_up = 20, 2
steps = [step for step in _base_.steps if step['type'] != 'Load']
norm = dict(type='BN')
unused = 3
param_scheduler = [dict(end=epochs - warm_up), dict(x={{_base_.rate}})]
train_cfg = dict(max_epochs=epochs)
train_dataloader = dict(dataset=dict(pipeline=steps))
model = dict(norm=norm, rate=0.5)
""",
    lazy="""
from mmengine.config import read_base
with read_base():
    from .lazy_base import *
param_scheduler = [dict(end=epochs)]
""",
    lazy_base="""
from torch.optim import AdamW
epochs = 10
train_cfg = dict(max_epochs=epochs)
optim_wrapper = dict(optimizer=dict(type=AdamW))
""",
)


@pytest.fixture
def merge(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / f'{name}.py').write_text(text)

    def run(name, **options):
        cfg = Config.fromfile(f'{name}.py')
        keys = {key.replace('__', '.'): v for key, v in options.items()}
        merge_options(cfg, keys)
        return cfg

    return run


def test_variables_go_where_they_went(merge):
    cfg = merge('child', epochs=5, size=(64, 64), rate=0.7)
    assert cfg.train_cfg == dict(max_epochs=5, name='5 epochs')
    assert cfg.param_scheduler == [dict(end=3), dict(x=0.7)]
    assert cfg.train_dataloader.size == (64, 64)
    for split in ('train', 'val'):
        crop = cfg[f'{split}_dataloader'].dataset.pipeline[-1]
        assert crop == dict(type='Crop', size=(64, 64))
    # The text of a config is not touched, and nothing is left behind.
    assert Config.fromfile('child.py').train_cfg.max_epochs == 20


def test_parts_of_variables_go_where_the_last_value_went(merge):
    cfg = merge('child', steps__0__size=3, norm__type='GN')
    assert cfg.train_dataloader.dataset.pipeline == [dict(type='Crop', size=3)]
    load, crop = cfg.val_dataloader.dataset.pipeline
    assert (load, crop.size) == (dict(type='Load'), (512, 512))
    assert cfg.model.norm == dict(type='GN', eps=1e-5)


def test_variables_of_pure_python_configs(merge):
    cfg = merge('lazy', epochs=5)
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[0].end) == (5, 5)
    assert cfg.optim_wrapper.optimizer.type is torch.optim.AdamW


def test_settings_of_one_split_stay_its_own(merge):
    cfg = merge('child', val_dataloader__batch_size=3)
    assert cfg.val_dataloader.batch_size == 3
    assert 'batch_size' not in cfg.train_dataloader


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('unused', 'makes nothing of this variable that counts'),
        ('warmup', "no such variable.*is it 'warm_up'"),
        ('eps', 'no such variable.*set model.norm.eps instead'),
        ('a__b', 'a.b: the config has no such variable'),
    ],
)
def test_option_without_effect_is_refused(key, message, merge):
    with pytest.raises(ValueError, match=message):
        merge('child', **{key: 7})
    assert merge('child', unused=3)  # as it is


def parse(*options):
    args = make_parser('').parse_args(['a.py', '--cfg-options', *options])
    return args.cfg_options


def test_blanks_in_values(capsys):
    assert parse('a=/my data/x', 'b=[1, 2]', "c=['a b', 'c']", 'd= 3') == dict(
        a='/my data/x', b=[1, 2], c=['a b', 'c'], d=3
    )
    for bad in (['a=/my', 'data/x'], ['a=[x y, z]'], ['=3']):
        with pytest.raises(SystemExit):
            parse(*bad)
        assert '--cfg-options: ' in capsys.readouterr().err


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
