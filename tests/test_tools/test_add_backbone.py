# Copyright (c) mmactive contributors. All rights reserved.
import pytest
import torch
from mmengine.config import Config

from mmactive.utils.complexity import build_model

TOOL = 'misc/add_backbone.py'
BACKBONE = """
custom_imports = dict(imports=['mmactive'])
channels = [96, 192, 384, 768]
backbone = dict(type='mmactive.ActiveMLP', arch='large')
init_cfg = dict(type='Pretrained', checkpoint='large.pth', prefix='backbone.')
"""


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'backbones').mkdir()
    path = tmp_path / 'backbones' / 'mine.py'
    path.write_text(BACKBONE)
    return path


def test_configs_build(backbone, tmp_path, run_tool):
    """Each joins its method with the backbone, as ActiveMLP-L's do."""
    run_tool(TOOL, backbone, 'mine')
    paths = sorted((tmp_path / 'mine').iterdir())
    assert len(paths) == 10
    for path in paths:
        name = path.name.replace('_mine_', '_activemlp-large_')
        name = name.replace('mine_', 'activemlp-large_')
        cfg, expected = (
            Config.fromfile(file)
            for file in (path, f'{find_folder(name)}/{name}')
        )
        for key in ('train_dataloader', 'param_scheduler', 'train_cfg'):
            assert cfg[key] == expected[key]
        assert cfg.optim_wrapper.optimizer == expected.optim_wrapper.optimizer
        model, other = build_model(cfg), build_model(expected)
        assert model.state_dict().keys() == other.state_dict().keys()
        if cfg.default_scope == 'mmpretrain':
            assert model(torch.empty(1, 3, 64, 64, device='meta')).shape == (
                1,
                1000,
            )
        else:
            assert cfg.model.backbone.init_cfg.checkpoint == 'large.pth'


def find_folder(name):
    from .conftest import ROOT

    folder = 'coco' if 'coco' in name else 'ade20k'
    return ROOT / 'configs' / ('imagenet' if 'in1k' in name else folder)


def test_nothing_is_overwritten(backbone, tmp_path, run_tool):
    (tmp_path / 'mine').mkdir()
    other = tmp_path / 'mine' / 'mask-rcnn_mine_fpn_1x_coco.py'
    other.write_text('mine')
    with pytest.raises(FileExistsError, match=other.name):
        run_tool(TOOL, backbone, 'mine')
    assert [path.name for path in other.parent.iterdir()] == [other.name]
    assert other.read_text() == 'mine'


@pytest.mark.parametrize(
    ('text', 'error'),
    [
        (BACKBONE.replace('channels', 'widths'), 'there is no channels'),
        (BACKBONE.replace('[96, ', '['), 'channels must be .* four'),
    ],
)
def test_bad_input_is_named(text, error, backbone, run_tool):
    backbone.write_text(text)
    with pytest.raises(ValueError, match=f'mine.py: .*{error}'):
        run_tool(TOOL, backbone, 'mine')
    with pytest.raises(FileNotFoundError, match="backbone: .*'no.py'"):
        run_tool(TOOL, 'no.py', 'mine')
