# Copyright (c) mmactive contributors. All rights reserved.
"""What the runner checks, and what of the libraries must pass.

That the errors reach the user is tested in ``tests/test_tools``.
"""

from types import SimpleNamespace

import pytest
from mmdet.datasets import CocoPanopticDataset
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmpretrain.models import ImageClassifier
from mmseg.models.decode_heads import STDCHead
from torch import nn

from mmactive.engine.checks.heads import (
    check_batch_augments,
    check_num_classes,
)


class Head(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes


def dataset_of(*classes):
    return SimpleNamespace(metainfo=dict(classes=classes))


def test_wrong_number_of_classes():
    model = nn.ModuleDict(dict(bbox_head=Head(3)))
    check_num_classes(model, dataset_of('a', 'b', 'c'))
    wrong = dataset_of('a', 'b')
    message = r'model\.bbox_head\.num_classes is 3, .* 2 classes: a, b'
    with pytest.raises(ValueError, match=message):
        check_num_classes(model, wrong)
    # One of several datasets, and one of several heads, of a wrapped model
    model = nn.ModuleDict(
        dict(roi_head=nn.ModuleDict(dict(bbox_head=nn.ModuleList([Head(2)]))))
    )
    model.module = nn.ModuleDict(dict(model))
    check_num_classes(model, wrong)
    both = SimpleNamespace(datasets=[wrong, dataset_of('a')])
    with pytest.raises(ValueError, match=r'roi_head\.bbox_head\.0\.num_clas'):
        check_num_classes(model, both)


def test_panoptic_heads_are_for_things():
    cfg = get_config('mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py')
    things = cfg.model.roi_head.bbox_head.num_classes
    metainfo = CocoPanopticDataset.METAINFO
    assert len(metainfo['thing_classes']) == things == 80
    assert len(metainfo['classes']) == 133
    model = nn.ModuleDict(
        dict(roi_head=nn.ModuleDict(dict(bbox_head=Head(things))))
    )
    check_num_classes(model, SimpleNamespace(metainfo=metainfo))


def test_boundaries_are_no_classes():
    cfg = get_config('mmseg::stdc/stdc1_4xb12-80k_cityscapes-512x1024.py')
    init_default_scope('mmseg')
    boundary = cfg.model.auxiliary_head[-1]
    assert boundary.pop('type') == 'STDCHead'
    boundary.norm_cfg = dict(type='BN')
    heads = [Head(19), STDCHead(**boundary)]
    assert heads[1].num_classes == 2
    model = nn.ModuleDict(dict(auxiliary_head=nn.ModuleList(heads)))
    cityscapes = dataset_of(*map(str, range(19)))
    check_num_classes(model, cityscapes)
    heads[0].num_classes = 18
    with pytest.raises(ValueError, match=r'auxiliary_head\.0\.num_classes'):
        check_num_classes(model, cityscapes)


def test_models_that_read_names_or_consist_of_models():
    dataset = dataset_of('cat', 'dog')
    # Grounding DINO's 256 are words of a sentence.
    cfg = get_config(
        'mmdet::mm_grounding_dino/grounding_dino_swin-t_pretrain_obj365.py'
    )
    assert cfg.model.bbox_head.num_classes == 256
    assert 'language_model' in cfg.model
    model = nn.ModuleDict(dict(bbox_head=Head(256), language_model=Head(0)))
    check_num_classes(model, dataset)
    # The persons that StrongSORT tells apart are in no dataset of tracks.
    reid = nn.ModuleDict(dict(head=Head(380)))
    check_num_classes(nn.ModuleDict(dict(reid=reid)), dataset)


def test_mixed_labels_have_the_classes_of_the_head():
    init_default_scope('mmpretrain')

    def build(num_classes, augments):
        return ImageClassifier(
            backbone=dict(type='LeNet5'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=84),
            data_preprocessor=dict(num_classes=num_classes),
            train_cfg=augments and dict(augments=augments),
        )

    mixup = dict(type='Mixup', alpha=0.8)
    for args in ((3, mixup), (None, mixup), (1000, None)):
        check_batch_augments(build(*args))
    message = r'data_preprocessor\.num_classes is 1000, .*num_classes is 3'
    with pytest.raises(ValueError, match=message):
        check_batch_augments(build(1000, mixup))
