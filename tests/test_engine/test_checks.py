# Copyright (c) mmactive contributors. All rights reserved.
"""What the runner checks, and what of the libraries must pass.

That the errors reach the user is tested in ``tests/test_tools``.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset, CocoPanopticDataset
from mmengine.dataset import BaseDataset
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmpretrain.models import ImageClassifier
from mmseg.models.decode_heads import STDCHead
from PIL import Image
from torch import nn

from mmactive.engine import Runner
from mmactive.engine.checks.data import CheckedPipeline, check_categories
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


@pytest.fixture
def fruit(tmp_path):
    """Makes mmdet's dataset of two boxes in a file of given categories."""

    def make(names, classes):
        boxes = [
            dict(
                id=i,
                image_id=1,
                category_id=10 + i,
                bbox=[0, 0, 8, 8],
                area=64,
            )
            for i in range(len(names))
        ]
        content = dict(
            images=[dict(id=1, file_name='1.png', width=64, height=64)],
            annotations=boxes,
            categories=[
                dict(id=10 + i, name=name) for i, name in enumerate(names)
            ],
        )
        path = tmp_path / 'fruit.json'
        path.write_text(json.dumps(content))
        metainfo = {} if classes is None else dict(classes=classes)
        return CocoDataset(
            ann_file=str(path),
            data_prefix=dict(img=''),
            metainfo=metainfo,
            pipeline=[],
        )

    return make


def test_categories_are_the_classes(fruit):
    check_categories(fruit(['pear', 'fig'], ('pear', 'fig')))
    # Other categories of the file are ignored.
    check_categories(fruit(['kiwi', 'pear', 'fig'], ['pear', 'fig']))
    names = CocoDataset.METAINFO['classes']
    check_categories(fruit(names, None))


def test_missing_category(fruit):
    dataset = fruit(['aple', 'pear', 'fig'], ('apple', 'pear', 'fig'))
    # What mmdet makes of it: pears have the label of apples.
    labels = [box['bbox_label'] for box in dataset[0]['instances']]
    assert labels == [0, 1]
    message = r"fruit\.json: it has 2 categories for 3 classes.*named 'apple'$"
    with pytest.raises(ValueError, match=message):
        check_categories(dataset)
    # The classes of COCO, where somebody forgot to give their own
    with pytest.raises(ValueError, match=r"for 80 classes.*'bicycle', 'car'"):
        check_categories(fruit(['cat', 'person'], None))


def test_order_of_categories(fruit):
    dataset = fruit(['fig', 'pear'], ('pear', 'fig'))
    # What mmdet makes of it: figs have the label of pears.
    labels = [box['bbox_label'] for box in dataset[0]['instances']]
    assert labels == [0, 1]
    message = "order.*'fig', 'pear', but .*classes='pear', 'fig'"
    with pytest.raises(ValueError, match=message):
        check_categories(dataset)


class Broken:
    def __call__(self, data):
        raise IndexError('out of range')


def make_dataset(transform, img_path=('1.png', '2.png')):
    record = dict(img_path=img_path)

    class Video(BaseDataset):
        def load_data_list(self):
            return [record]

    dataset = Video(pipeline=[transform], serialize_data=False)
    dataset.pipeline = CheckedPipeline(dataset)
    return dataset


def test_all_frames_of_a_video_are_named():
    message = r'^1\.png, 2\.png: IndexError: out of range$'
    with pytest.raises(RuntimeError, match=message):
        make_dataset(Broken())[0]


@pytest.mark.parametrize('name', ['photo.jpg', 'photo.JPEG', 'photo.png'])
def test_images_that_are_cut_off(name, tmp_path):
    """OpenCV 4 makes grey pixels of what is missing."""
    path = tmp_path / name
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    complete = path.read_bytes()
    dataset = make_dataset(dict, str(path))
    for content in (complete, complete + b'more'):
        path.write_bytes(content)
        assert dataset[0]['img_path'] == str(path)
    for size in (0, 1, 500, len(complete) - 500):
        path.write_bytes(complete[:size])
        with pytest.raises((OSError, RuntimeError), match=name):
            dataset[0]


def test_samples_without_labels_pass():
    dataset = make_dataset(lambda data: dict(data_samples={}))
    dataset.pipeline.num_classes = 2
    dataset.pipeline.ignore_index = 255
    assert dataset[0] == dict(data_samples={})


def test_labels_of_images_to_be_mixed():
    labels = torch.tensor([[0, 1], [255, 2]])
    dataset = make_dataset(lambda data: dict(gt_seg_map=labels.numpy()))
    dataset.pipeline.ignore_index = 255
    dataset.pipeline.num_classes = 3
    assert dataset[0] is not None
    dataset.pipeline.num_classes = 2
    with pytest.raises(ValueError, match=r'2\.png: .* 0 to 1, .* is 2$'):
        dataset[0]


@pytest.mark.parametrize('part', ['dataset', 'transform', 'sampler'])
def test_typos_are_not_blamed_on_the_data(part, fruit):
    init_default_scope('mmdet')
    path = fruit(['fig'], ('fig',)).ann_file
    dataset = dict(
        type='CocoDataset',
        ann_file=path,
        data_prefix=dict(img=''),
        metainfo=dict(classes=('fig',)),
        pipeline=[dict(type='LoadImageFromFile')],
    )
    sampler = dict(type='DefaultSampler', shuffle=False)
    loader = dict(
        dataset=dataset, sampler=sampler, batch_size=1, num_workers=0
    )
    assert len(Runner.build_dataloader(loader)) == 1
    places = dict(
        dataset=dataset, transform=dataset['pipeline'][0], sampler=sampler
    )
    places[part]['type'] = 'Typo'
    with pytest.raises(KeyError, match='Typo is not in the .* registry') as e:
        Runner.build_dataloader(loader)
    assert path not in str(e.value)
