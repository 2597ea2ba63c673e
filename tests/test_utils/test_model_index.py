# Copyright (c) mmactive contributors. All rights reserved.
"""Models by their names, with the calls of each library."""

import mmengine.hub
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.infer import BaseInferencer
from mmpretrain import get_model, list_models
from mmseg.apis import MMSegInferencer

from mmactive.models import ActiveMLP
from mmactive.utils.model_index import load_models


def test_mmpretrain_lists_and_builds():
    names = list_models('activemlp-*')
    assert 'activemlp-tiny_8xb128_in1k' in names
    assert 'resnet18_8xb32_in1k' in list_models()  # theirs are still there
    model = get_model(
        'activemlp-xtiny_8xb128_in1k',
        backbone=dict(drop_path_rate=0.3, out_indices=(2, 3)),
    )
    assert isinstance(model.backbone, ActiveMLP)
    features = model.extract_feat(torch.rand(1, 3, 64, 64))
    assert [feature.shape[1] for feature in features] == [320, 512]


def test_mmpretrain_loads_a_checkpoint(tmp_path):
    name = 'activemlp-xtiny_8xb128_in1k'
    expected = get_model(name).state_dict()
    path = str(tmp_path / 'weights.pth')
    torch.save(dict(state_dict=expected), path)
    weights = get_model(name, pretrained=path).state_dict()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)


def test_mmdet_infers():
    inferencer = DetInferencer(
        'mask-rcnn_activemlp-xtiny_fpn_1x_coco',
        device='cpu',
        show_progress=False,
    )
    assert isinstance(inferencer.model.backbone, ActiveMLP)
    image = np.zeros((64, 64, 3), np.uint8)
    assert len(inferencer(image)['predictions']) == 1


def test_mmseg_infers():
    inferencer = MMSegInferencer(
        'fpn_activemlp-xtiny_8xb4-40k_ade20k-512x512', device='cpu'
    )
    image = np.zeros((64, 64, 3), np.uint8)
    assert inferencer(image)['predictions'].shape == (64, 64)


def test_models_of_the_other_libraries_are_not_offered():
    with pytest.raises(ValueError, match='Cannot find model'):
        DetInferencer('activemlp-xtiny_8xb128_in1k')


def test_names_that_inferencers_list():
    folder = BaseInferencer._get_repo_or_mim_dir('mmseg')
    models = BaseInferencer._get_models_from_metafile(folder)
    names = [model['Name'] for model in models]
    assert 'upernet_activemlp-tiny_8xb2-160k_ade20k-512x512' in names
    assert 'fcn_r50-d8_4xb2-40k_cityscapes-512x1024' in names
    assert not any('coco' in name for name in names if 'activemlp' in name)


@pytest.mark.parametrize(
    'name',
    [
        'imagenet/activemlp-xtiny_8xb128_in1k.py',
        'coco/mask-rcnn_activemlp-xtiny_fpn_1x_coco.py',
        'ade20k/upernet_activemlp-xtiny_8xb2-160k_ade20k-512x512.py',
    ],
)
def test_hub_builds_in_the_scope_of_the_library(name):
    cfg = mmengine.hub.get_config(f'mmactive::{name}')
    model = mmengine.hub.get_model(f'mmactive::{name}')
    assert isinstance(model.backbone, ActiveMLP)
    # Several libraries have a neck and a preprocessor of the same name.
    for part in ('data_preprocessor', 'neck', 'decode_head', 'rpn_head'):
        if getattr(model, part, None) is not None:
            module = type(getattr(model, part)).__module__
            assert module.startswith(cfg.default_scope), part


def test_configs_exist():
    for scope in ('mmpretrain', 'mmdet', 'mmseg'):
        models = load_models(scope)
        assert models
        for model in models:
            assert model['Config'].endswith(f'{model["Name"]}.py')
            with open(model['Config']):
                pass
