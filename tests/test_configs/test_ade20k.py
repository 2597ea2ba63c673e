# Copyright (c) mmactive contributors. All rights reserved.
"""The ADE20K configs against the paper's text and tables."""

import numpy as np
import pytest
import torch
from config_checks import (
    ARCHS,
    assert_only_weights_decay,
    count_params,
    load_config,
)
from mmengine.dataset import Compose
from mmengine.registry import MODELS, init_default_scope

from mmactive.utils.complexity import build_model

NAMES = {
    'fpn': 'fpn_activemlp-{}_8xb4-40k_ade20k-512x512',
    'upernet': 'upernet_activemlp-{}_8xb2-160k_ade20k-512x512',
}

# Tables 3 and 4, in millions, with the decimals they are printed with.
PARAMS = {
    'fpn': ('19.1', '30.9', '42.4', '55.9', '79.8'),
    'upernet': ('45', '57', '69', '82', '108'),
}


def load(method, arch):
    return load_config(f'configs/ade20k/{NAMES[method].format(arch)}.py')


@pytest.mark.parametrize('arch', ARCHS)
@pytest.mark.parametrize('method', NAMES)
def test_config(method, arch):
    cfg = load(method, arch)
    backbone = cfg.model.backbone
    assert cfg.custom_imports.imports == ['mmactive']
    assert cfg.default_scope == 'mmseg'
    assert backbone.type == 'mmactive.ActiveMLP'
    assert backbone.arch == arch
    assert backbone.init_cfg == dict(
        type='Pretrained',
        checkpoint=f'checkpoints/activemlp-{arch}_in1k.pth',
        prefix='backbone.',
    )
    assert cfg.pretrained == backbone.init_cfg.checkpoint
    assert cfg.model.pretrained is None

    iters, batch = dict(fpn=(40000, 32), upernet=(160000, 16))[method]
    assert cfg.train_cfg.max_iters == iters
    assert cfg.param_scheduler[-1].end == iters
    assert cfg.train_dataloader.batch_size * 8 == batch
    assert cfg.auto_scale_lr.base_batch_size == batch
    optimizer = dict(cfg.optim_wrapper.optimizer)
    poly = cfg.param_scheduler[-1]
    assert (poly.type, poly.eta_min) == ('PolyLR', 0)
    if method == 'fpn':
        assert optimizer == dict(type='AdamW', lr=2e-4, weight_decay=1e-4)
        assert poly.power == 0.9
        assert len(cfg.param_scheduler) == 1
    else:
        assert optimizer == dict(
            type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01
        )
        warm_up = cfg.param_scheduler[0]
        assert (warm_up.type, warm_up.end) == ('LinearLR', 1500)
        assert warm_up.start_factor == 1e-6
        assert (poly.power, poly.begin) == (1.0, 1500)
        assert cfg.model.auxiliary_head.in_index == 2

    crop = cfg.train_dataloader.dataset.pipeline[3]
    assert (crop.type, crop.crop_size) == ('RandomCrop', (512, 512))
    assert cfg.model.data_preprocessor.size == (512, 512)


@pytest.mark.parametrize('arch', ARCHS)
@pytest.mark.parametrize('method', NAMES)
def test_model(method, arch):
    model = build_model(load(method, arch))
    printed = PARAMS[method][ARCHS.index(arch)]
    decimals = len(printed.partition('.')[2])
    assert f'{count_params(model) / 1e6:.{decimals}f}' == printed
    with torch.no_grad():
        scores = model(torch.empty(1, 3, 64, 96, device='meta'))
    assert scores.shape == (1, 150, 16, 24)
    if method == 'upernet':
        scores = model.auxiliary_head(
            model.extract_feat(torch.empty(1, 3, 64, 96, device='meta'))
        )
        assert scores.shape == (1, 150, 4, 6)


@pytest.mark.parametrize('method', NAMES)
def test_no_decay(method):
    cfg = load(method, 'xtiny')
    init_default_scope('mmseg')
    model = MODELS.build(cfg.model)
    assert_only_weights_decay(model, cfg.optim_wrapper)


def test_multi_scale_sizes(tmp_path):
    """Multi-scale inference scales 512 by 0.5 to 1.75, and flips."""
    from PIL import Image

    init_default_scope('mmseg')
    image = np.random.randint(0, 255, (100, 150, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / 'image.png')
    Image.fromarray(image[..., 0] % 150).save(tmp_path / 'labels.png')
    cfg = load('upernet', 'tiny')
    assert cfg.tta_model.type == 'SegTTAModel'
    views = Compose(cfg.tta_pipeline)(
        dict(
            img_path=str(tmp_path / 'image.png'),
            seg_map_path=str(tmp_path / 'labels.png'),
            reduce_zero_label=True,
            seg_fields=[],
        )
    )
    sizes = [tuple(view.shape[1:]) for view in views['inputs']]
    assert len(sizes) == 12
    short = [256, 384, 512, 640, 768, 896]
    assert sorted(min(size) for size in sizes) == sorted(short * 2)
    flips = [sample.metainfo['flip'] for sample in views['data_samples']]
    assert sum(flips) == 6
    # Predictions are flipped back, labels are loaded as they are.
    expected = (image[..., 0] % 150).astype(np.uint8) - 1
    for sample in views['data_samples']:
        assert np.array_equal(sample.gt_sem_seg.data[0], expected)
