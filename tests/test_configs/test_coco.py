# Copyright (c) mmactive contributors. All rights reserved.
"""The COCO configs against the paper's text and mmdet's own classes."""

from itertools import product

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

SCHEDULES = {
    'mask-rcnn': ('1x', 'ms-1x', 'ms-3x'),
    'cascade-mask-rcnn': ('ms-1x', 'ms-3x'),
    'retinanet': ('1x', 'ms-3x'),
}
NAMES = [
    (method, arch, schedule)
    for method, schedules in SCHEDULES.items()
    for arch, schedule in product(ARCHS, schedules)
]

# Tables 5 and 6, in millions. The paper gives none for Cascade Mask R-CNN.
PARAMS = {
    'mask-rcnn': (35, 47, 58, 72, 96),
    'retinanet': (25, 37, 48, 62, 86),
}


def load(method, arch, schedule):
    return load_config(
        f'configs/coco/{method}_activemlp-{arch}_fpn_{schedule}_coco.py'
    )


@pytest.mark.parametrize(('method', 'arch', 'schedule'), NAMES)
def test_config(method, arch, schedule):
    cfg = load(method, arch, schedule)
    backbone = cfg.model.backbone
    assert cfg.custom_imports.imports == ['mmactive']
    assert cfg.default_scope == 'mmdet'
    assert backbone.type == 'mmactive.ActiveMLP'
    assert backbone.arch == arch
    assert backbone.init_cfg == dict(
        type='Pretrained',
        checkpoint=f'checkpoints/activemlp-{arch}_in1k.pth',
        prefix='backbone.',
    )
    assert cfg.pretrained == backbone.init_cfg.checkpoint

    # 12 or 36 epochs, batches of 16, AdamW 1e-4
    long = schedule == 'ms-3x'
    assert cfg.train_cfg.max_epochs == (36 if long else 12)
    warm_up, decay = cfg.param_scheduler
    assert warm_up.type == 'LinearLR'
    assert decay.milestones == ([27, 33] if long else [8, 11])
    assert decay.end == cfg.train_cfg.max_epochs
    assert cfg.train_dataloader.batch_size * 8 == 16
    assert cfg.auto_scale_lr.base_batch_size == 16
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('AdamW', 1e-4)
    expected = 1e-4 if method == 'retinanet' else 0.05
    assert optimizer.weight_decay == expected

    steps = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    resize = cfg.train_dataloader.dataset.pipeline[2]
    assert steps[0] == 'LoadImageFromFile'
    assert steps[1] == 'LoadAnnotations'
    assert steps[3:] == ['RandomFlip', 'PackDetInputs']
    if schedule == '1x':
        assert resize.scale == (1333, 800)
    else:
        assert resize.type == 'RandomChoiceResize'
        assert [min(scale) for scale in resize.scales] == list(
            range(480, 801, 32)
        )
        assert {max(scale) for scale in resize.scales} == {1333}
    assert resize.keep_ratio
    masks = cfg.train_dataloader.dataset.pipeline[1].get('with_mask', False)
    assert masks == (method != 'retinanet')


@pytest.mark.parametrize('arch', ARCHS)
@pytest.mark.parametrize('method', SCHEDULES)
def test_model(method, arch):
    schedules = SCHEDULES[method]
    cfg = load(method, arch, schedules[0])
    for schedule in schedules[1:]:
        assert load(method, arch, schedule).model == cfg.model

    model = build_model(cfg)
    if method in PARAMS:
        printed = PARAMS[method][ARCHS.index(arch)]
        assert round(count_params(model) / 1e6) == printed
    features = model.extract_feat(torch.empty(1, 3, 64, 96, device='meta'))
    first = 8 if method == 'retinanet' else 4
    assert [tuple(x.shape) for x in features[:3]] == [
        (1, 256, 64 // stride, 96 // stride)
        for stride in (first, 2 * first, 4 * first)
    ]
    assert len(features) == 5


def test_cascade_heads():
    cfg = load('cascade-mask-rcnn', 'xtiny', 'ms-1x')
    heads = build_model(cfg).roi_head.bbox_head
    stds = [head.bbox_coder.stds for head in heads]
    assert stds == [
        [0.1, 0.1, 0.2, 0.2],
        [0.05, 0.05, 0.1, 0.1],
        [0.033, 0.033, 0.067, 0.067],
    ]
    for head in heads:
        assert len(head.shared_convs) == 4
        assert len(head.shared_fcs) == 1
        assert type(head.loss_bbox).__name__ == 'GIoULoss'
        assert head.reg_decoded_bbox
        assert not head.reg_class_agnostic


@pytest.mark.parametrize('method', SCHEDULES)
def test_no_decay(method):
    cfg = load(method, 'xtiny', SCHEDULES[method][-1])
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    assert_only_weights_decay(model, cfg.optim_wrapper)


def test_multi_scale_sizes():
    """Swin's rule, checked on the transform that mmdet builds."""
    cfg = load('mask-rcnn', 'xtiny', 'ms-1x')
    init_default_scope('mmdet')
    resize = Compose([cfg.train_dataloader.dataset.pipeline[2]])
    sizes = {
        resize(dict(img=np.zeros((300, 400, 3), np.uint8)))['img_shape']
        for _ in range(60)
    }
    assert len(sizes) > 3
    assert all(480 <= min(size) <= 800 for size in sizes)
    wide = resize(dict(img=np.zeros((100, 1000, 3), np.uint8)))['img_shape']
    assert wide[1] == 1333
