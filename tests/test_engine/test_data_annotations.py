# Copyright (c) mmactive contributors. All rights reserved.
"""Annotation files in COCO's format: what is refused, and what must pass."""

import copy
import gzip
import json

import numpy as np
import pytest
from mmdet.evaluation import CocoMetric
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmactive.engine import Runner
from mmactive.engine.checks.data import check_evaluator, checked_loading
from mmactive.engine.checks.data.coco import count_pixels

SIZE = 64
NAN, INF = float('nan'), float('inf')


def make_content():
    """Four images of two objects each, a pear and a fig."""
    content = dict(images=[], annotations=[], categories=[])
    for i, name in enumerate(('pear', 'fig')):
        content['categories'].append(dict(id=i + 1, name=name))
    for i in range(4):
        content['images'].append(
            dict(id=i + 1, file_name=f'{i}.jpg', width=SIZE, height=SIZE)
        )
        for category_id in (1, 2):
            x, y, w, h = 5 * i, 8 * category_id, 20, 12
            content['annotations'].append(
                dict(
                    id=2 * i + category_id,
                    image_id=i + 1,
                    category_id=category_id,
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                    segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                )
            )
    return content


def encode(mask, compress=True):
    """Encodes a mask as run lengths."""
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    if compress:
        return dict(size=code['size'], counts=code['counts'].decode())
    flat = np.concatenate([[0], mask.ravel(order='F'), [2]])
    ends = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], ends[:-1], [mask.size]]))
    if flat[1]:
        counts = np.concatenate([[0], counts[1:]])
    return dict(size=list(mask.shape), counts=counts.tolist())


@pytest.fixture
def load(tmp_path):
    """Builds a dataloader of a content; returns its dataset."""
    init_default_scope('mmdet')
    path = tmp_path / 'fruit.json'

    def build(content, masks=True, **kwargs):
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(json.dumps(content))
        dataset = dict(
            type='CocoDataset',
            ann_file=str(path),
            data_prefix=dict(img=''),
            metainfo=dict(classes=('pear', 'fig')),
            # Saves a collection of garbage.
            serialize_data=False,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_mask=masks),
            ],
        )
        dataset.update(kwargs)
        loader = dict(
            dataset=dataset,
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=1,
            num_workers=0,
        )
        return Runner.build_dataloader(loader).dataset

    return build


@pytest.fixture
def evaluate(load, tmp_path):
    """Checks what a metric is to do with a content."""

    def check(content, metric=('bbox', 'segm'), **kwargs):
        dataset = load(content, test_mode=True, **kwargs)
        with checked_loading():
            metric = CocoMetric(dataset.ann_file, metric=list(metric))
        check_evaluator(Evaluator(metric), dataset)

    return check


def put(section, **fields):
    """Returns a change of the first item of a section."""

    def change(content):
        content[section][0].update(fields)

    return change


def drop(section, field):
    def change(content):
        del content[section][0][field]

    return change


def shift(field, by):
    def change(content):
        for item in content['annotations']:
            item[field] += by

    return change


def twice(section):
    def change(content):
        content[section].append(copy.deepcopy(content[section][0]))

    return change


def as_corners(content):
    for item in content['annotations']:
        x, y, w, h = item['bbox']
        item['bbox'] = [x + 15, y + 15, x + w + 15, y + h + 15]


def polygon(*values):
    return put('annotations', segmentation=[list(values)])


def runs(**fields):
    code = dict(size=[SIZE, SIZE], counts=[10, 20, SIZE * SIZE - 30])
    code.update(fields)
    return put('annotations', segmentation=code)


FAULTS = {
    'no images': (lambda c: c.pop('images'), 'images is missing'),
    'no categories': (lambda c: c.pop('categories'), 'categories is missing'),
    'images of other type': (
        lambda c: c.update(images={}),
        r'images is \{\}, expected a list',
    ),
    'image of other type': (
        lambda c: c['images'].append(7),
        r'images\[4\] is 7, expected an object',
    ),
    'annotation of other type': (
        lambda c: c['annotations'].append(None),
        r'annotations\[8\] is None',
    ),
    # Ids
    'image twice': (twice('images'), r'images\[4\]: id is 1, but another'),
    'category twice': (twice('categories'), r'categories\[2\]: id is 1'),
    'annotation twice': (twice('annotations'), r'annotations\[8\]: id is 1'),
    'name twice': (
        put('categories', name='fig'),
        "none that is named 'pear', and several that are named 'fig'",
    ),
    'no id': (drop('annotations', 'id'), r'annotations\[0\]: id is missing'),
    'null id': (put('images', id=None), r'images\[0\]|image None: id is None'),
    'list as id': (put('images', id=[1]), r'image \[1\]: id is \[1\]'),
    'NaN id': (put('annotations', id=NAN), r'annotation nan: id is nan'),
    'mixed ids': (
        put('images', id='a'),
        "id is a string in some and a number in others, such as 'a' and 2",
    ),
    'no such image': (
        put('annotations', image_id=99),
        'annotation 1: image_id is 99, but there is no such image; ids there '
        'are: 1, 2, 3, 4$',
    ),
    'image as string': (
        put('annotations', image_id='1'),
        "annotation 1: image_id is '1', but",
    ),
    'image as list': (
        put('annotations', image_id=[1]),
        r'annotation 1: image_id is \[1\], expected',
    ),
    'categories from 0': (
        shift('category_id', -1),
        r'annotation 1: category_id is 0, .*are: 1, 2 \(4 annotations are so',
    ),
    'categories from 2': (shift('category_id', 1), 'category_id is 3, but'),
    'no image_id': (drop('annotations', 'image_id'), '1: image_id is missing'),
    # Images
    'no file_name': (drop('images', 'file_name'), '1: file_name is missing'),
    'other file_name': (put('images', file_name=3), 'image 1: file_name is 3'),
    'no width': (drop('images', 'width'), 'image 1: width is missing'),
    'no height': (drop('images', 'height'), 'image 1: height is missing'),
    'width 0': (put('images', width=0), 'image 1: width is 0, expected a num'),
    'height -5': (put('images', height=-5), 'image 1: height is -5'),
    'width as string': (put('images', width='64'), "image 1: width is '64'"),
    'NaN height': (put('images', height=NAN), 'image 1: height is nan'),
    # Boxes
    'no bbox': (drop('annotations', 'bbox'), 'annotation 1: bbox is missing'),
    'bbox null': (put('annotations', bbox=None), '1: bbox is None, expected'),
    'bbox of 3': (put('annotations', bbox=[1, 2, 3]), r'bbox is \[1, 2, 3\]'),
    'bbox of 5': (put('annotations', bbox=[1] * 5), r'1: bbox is \[1, 1, 1'),
    'bbox of text': (
        put('annotations', bbox=['1', 2, 3, 4]),
        r"annotation 1: bbox is \['1', 2, 3, 4\], expected four finite",
    ),
    'bbox with null': (put('annotations', bbox=[None, 2, 3, 4]), 'bbox is'),
    'bbox of a dict': (
        put('annotations', bbox=dict(x=1, y=1, w=1, h=1)),
        '1: bbox is',
    ),
    'bbox NaN': (put('annotations', bbox=[NAN, 2, 3, 4]), r'bbox is \[nan'),
    'bbox inf': (
        put('annotations', bbox=[1, 2, INF, 4]),
        r'bbox is \[1, 2, i',
    ),
    'bbox 10**400': (put('annotations', bbox=[1, 2, 10**400, 4]), 'bbox is'),
    'bbox negative': (
        put('annotations', bbox=[30, 30, -20, 9]),
        r'annotation 1: bbox is \[30, 30, -20, 9\], expected a width',
    ),
    'bbox huge': (
        put('annotations', bbox=[0, 0, 1e9, 5]),
        'expected a box in its image, .* by more than .* size, 64 x 64 pixels',
    ),
    'bbox far': (
        put('annotations', bbox=[500, 1, 9, 9]),
        'a box in its image',
    ),
    'corners': (as_corners, 'annotation 1: bbox is .*look like two corners'),
    # Areas and crowds
    'no area': (drop('annotations', 'area'), 'annotation 1: area is missing'),
    'area null': (put('annotations', area=None), 'annotation 1: area is None'),
    'area NaN': (put('annotations', area=NAN), 'annotation 1: area is nan'),
    'area inf': (put('annotations', area=INF), 'annotation 1: area is inf'),
    'area negative': (put('annotations', area=-4), '1: area is -4, expected'),
    'area as text': (put('annotations', area='9'), "1: area is '9', expected"),
    'iscrowd 2': (
        put('annotations', iscrowd=2),
        '1: iscrowd is 2, expected 0',
    ),
    'iscrowd "0"': (put('annotations', iscrowd='0'), "iscrowd is '0'"),
    'iscrowd null': (put('annotations', iscrowd=None), 'iscrowd is None'),
    'iscrowd list': (put('annotations', iscrowd=[0]), r'iscrowd is \[0\]'),
    # Masks
    'no mask': (
        drop('annotations', 'segmentation'),
        'annotation 1: segmentation is missing',
    ),
    'mask null': (put('annotations', segmentation=None), 'on is None, exp'),
    'no polygon': (put('annotations', segmentation=[]), r'on is \[\], expect'),
    'empty polygon': (put('annotations', segmentation=[[]]), r'is \[\[\]\]'),
    'two points': (polygon(3, 3, 9, 9), r'1: segmentation is \[\[3, 3, 9, 9'),
    'one point': (polygon(3, 3), 'at least three points'),
    'odd polygon': (polygon(1, 1, 9, 1, 9, 9, 1), 'at least three points'),
    'flat list': (
        put('annotations', segmentation=[1, 1, 9, 1, 9, 9]),
        'polygons, each a list',
    ),
    'pairs': (
        put('annotations', segmentation=[[[1, 1], [9, 1], [9, 9]]]),
        'polygons, each a list',
    ),
    'second of two': (
        put(
            'annotations',
            segmentation=[[1, 1, 9, 1, 9, 9], [3, 3, 9, 9]],
        ),
        'annotation 1: segmentation is',
    ),
    'polygon NaN': (polygon(NAN, 1, 9, 1, 9, 9), 'all of finite numbers'),
    'polygon inf': (polygon(1, 1, INF, 1, 9, 9), 'all of finite numbers'),
    'polygon text': (polygon('1', 1, 9, 1, 9, 9), 'all of finite numbers'),
    'polygon null': (polygon(None, 1, 9, 1, 9, 9), 'all of finite numbers'),
    # pycocotools dies of this one.
    'polygon huge': (
        polygon(1e9, 1e9, -1e9, 5, 3, 3),
        'expected points in its image',
    ),
    'polygon elsewhere': (
        polygon(70, 70, 90, 70, 90, 90),
        'points in its image of 64 x 64 pixels',
    ),
    'polygon of a point': (polygon(5, 5, 5, 5, 5, 5), 'not all on one line'),
    'polygon of a line': (polygon(5, 5, 5, 9, 5, 20), 'not all on one line'),
    'polygon of a diagonal': (polygon(5, 5, 9, 9, 20, 20), 'all on one line'),
    'polygons from 0 to 1': (
        polygon(0.1, 0.1, 0.4, 0.1, 0.4, 0.3),
        'segmentation is .*, expected points in its bbox',
    ),
    'runs of no object': (
        runs(counts=[SIZE * SIZE]),
        r'1: segmentation.counts is \[4096\], .* but there are none',
    ),
    'compressed, of no object': (
        put('annotations', segmentation=encode(np.zeros((SIZE, SIZE)))),
        "1: segmentation.counts is 'PP4', .* but there are none",
    ),
    'runs of half pixels': (runs(counts=[9.5, 1, 4085.5]), 'counts is'),
    'runs too short': (
        runs(counts=[10, 20]),
        r'1: segmentation.counts is \[10, 20\], .* 4096 .*, but it is 30 pix',
    ),
    'runs too long': (runs(counts=[10, 20, 9999]), 'it is 10029 pixels'),
    'runs negative': (runs(counts=[10, -20, 4106]), 'counts is'),
    'runs of text': (runs(counts=['10', 4086]), 'counts is'),
    'runs missing': (runs(counts=None), 'counts is None'),
    'runs empty': (runs(counts=''), "counts is ''"),
    'runs no code': (runs(counts='\x01\x02'), 'no code of run lengths'),
    'runs of other size': (
        runs(size=[32, 128]),
        r'segmentation.size is \[32, 128\], .*\[64, 64\]',
    ),
    'runs without size': (runs(size=None), 'segmentation.size is None'),
    'compressed, too short': (
        lambda c: c['annotations'][0].update(
            segmentation=dict(
                encode(np.ones((60, 60))),
                size=[SIZE, SIZE],
            )
        ),
        'it is 3600 pixels',
    ),
    # Objects
    'all crowds': (
        lambda c: [i.update(iscrowd=1) for i in c['annotations']],
        'none of its 8 annotations can be learned: 8 crowds',
    ),
    'all tiny': (
        lambda c: [i.update(bbox=[1, 1, 0.5, 3]) for i in c['annotations']],
        'none of its 8 annotations can be learned: 8 smaller than a pixel',
    ),
    'all without area': (
        lambda c: [i.update(area=0) for i in c['annotations']],
        '8 without area',
    ),
}


@pytest.mark.parametrize('name', FAULTS)
def test_faults_are_named(name, load):
    change, message = FAULTS[name]
    content = make_content()
    load(content)
    change(content)
    with pytest.raises(ValueError, match=message) as info:
        load(content)
    assert 'fruit.json: ' in str(info.value)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'the file is empty'),
        (json.dumps(make_content()).encode()[:-40], 'the file is cut off'),
        (json.dumps(make_content()).encode()[:300], 'the file is cut off'),
        (gzip.compress(b'{}', mtime=0), 'the file is packed by gzip'),
        (b'<html></html>', 'the file is no JSON'),
        (b'[]', 'expected an object of images, annotations'),
        (b'"text"', 'expected an object of images, annotations'),
    ],
)
def test_files_of_another_kind(content, message, load):
    with pytest.raises(ValueError, match=rf'fruit\.json: {message}'):
        load(content)


def rename(content, name, change):
    """Changes ids of images or categories, and what refers to them."""
    section = dict(image='images', category='categories')[name]
    for item in content[section]:
        item['id'] = change(item['id'])
    for item in content['annotations']:
        item[f'{name}_id'] = change(item[f'{name}_id'])


def give_masks(compress):
    def change(content):
        generator = np.random.default_rng(0)
        for item in content['annotations']:
            mask = generator.random((SIZE, SIZE)) < 0.3
            item['segmentation'] = encode(mask, compress)

    return change


SOUND = {
    'as it is': lambda c: None,
    'string ids': lambda c: rename(c, 'image', 'image-{}'.format),
    'string categories': lambda c: rename(c, 'category', str),
    'float ids': lambda c: rename(c, 'image', float),
    'float in one place': put('annotations', image_id=1.0, category_id=1.0),
    'gaps': lambda c: rename(c, 'image', lambda i: 1000 * i),
    'image of id 0': lambda c: rename(c, 'image', lambda i: i - 1),
    'categories with gaps': lambda c: rename(c, 'category', lambda i: 30 * i),
    'float sizes': put('images', width=64.0, height=64.0),
    'absolute file_name': put('images', file_name='/somewhere/0.jpg'),
    'boolean crowds': put('annotations', iscrowd=False),
    'other category': lambda c: c['categories'].append(
        dict(id=9, name='all', supercategory='all')
    ),
    'image without objects': lambda c: c['images'].append(
        dict(id=99, file_name='99.jpg', width=SIZE, height=SIZE)
    ),
    # COCO's train2017 has two such boxes, with such polygons.
    'box without extent': put(
        'annotations',
        bbox=[29.6, 38.3, 1.03, 0.0],
        area=0.0,
        segmentation=[[29.6, 38.3, 29.6, 38.3, 30.63, 38.3, 30.63, 38.3]],
    ),
    'tiny box': put('annotations', bbox=[3, 3, 0.5, 0.5], area=0.25),
    'without area': put('annotations', area=0),
    'slightly outside': put(
        'annotations',
        bbox=[-3, -2, 70, 30],
        segmentation=[[-3, -2, 67, -2, 67, 28]],
    ),
    'not in its image': put('annotations', bbox=[70, 70, 9, 9]),
    'crowd': put(
        'annotations',
        iscrowd=1,
        segmentation=dict(size=[SIZE, SIZE], counts=[10, 20, 4066]),
    ),
    'to be ignored': put('annotations', ignore=1),
    'runs': give_masks(False),
    'compressed runs': give_masks(True),
    'full mask': lambda c: c['annotations'][0].update(
        segmentation=encode(np.ones((SIZE, SIZE)))
    ),
    'integer polygons': polygon(1, 1, 9, 1, 9, 9),
    'three of five points on a line': polygon(1, 1, 9, 9, 9, 1, 5, 5, 1, 9),
    'a line beside its object': put(
        'annotations',
        segmentation=[[1, 9, 5, 12, 9, 15], [1, 9, 9, 9, 9, 19]],
    ),
}


@pytest.mark.parametrize('name', SOUND)
def test_unusual_files_pass(name, load, evaluate):
    content = make_content()
    SOUND[name](content)
    dataset = load(content)
    assert len(dataset) == len(content['images'])
    evaluate(content)


@pytest.fixture
def lines(monkeypatch):
    """What the checks of a dataset print."""
    lines = []
    monkeypatch.setattr(
        'mmactive.engine.checks.data.datasets.print_log',
        lambda text, **kwargs: lines.append(text),
    )
    return lines


def test_what_is_skipped_is_counted_in_one_line(load, lines):
    content = make_content()
    content['images'].append(
        dict(id=9, file_name='9.jpg', width=SIZE, height=SIZE)
    )
    content['images'].append(
        dict(id=10, file_name='9.jpg', width=31, height=64)
    )
    content['annotations'][0].update(bbox=[3, 3, 0.5, 3])
    content['annotations'][1].update(iscrowd=1)
    content['annotations'][2].update(ignore=True)
    content['annotations'][3].update(bbox=[70, 70, 9, 9])
    content['annotations'][4].update(area=0)
    content['annotations'].append(
        dict(content['annotations'][5], id=99, image_id=10)
    )
    content['categories'].append(dict(id=7, name='kiwi'))
    content['annotations'][6].update(category_id=7)
    filters = dict(filter_empty_gt=True, min_size=32)
    dataset = load(content, filter_cfg=filters)
    assert len(lines) == 2
    assert '1 images have the file_name of another one' in lines[0]
    assert lines[1].endswith(
        'by design, training skips 1 of other categories, 1 to be ignored, '
        '1 smaller than a pixel, 1 outside of their images, 1 without area, '
        '1 crowds (of 9 annotations) and 1 without objects, 1 smaller than '
        '32 pixels (of 6 images)'
    )
    # mmdet skips as many.
    records = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert len(records) == 6 - 2
    flags = [
        item['ignore_flag']
        for record in records
        for item in record['instances']
    ]
    assert (len(flags), sum(flags)) == (3, 1)
    # Nothing is said where nothing is skipped.
    lines.clear()
    load(make_content(), filter_cfg=filters)
    assert lines == []


def test_masks_are_checked_where_they_are_used(load, evaluate):
    content = make_content()
    for item in content['annotations']:
        item['segmentation'] = []
    load(content, masks=False)
    evaluate(content, metric=['bbox'], masks=False)
    with pytest.raises(ValueError, match='annotation 1: segmentation is'):
        evaluate(content, masks=False)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            drop('annotations', 'iscrowd'),
            'annotation 1: iscrowd is missing, which pycocotools needs',
        ),
        (
            lambda c: c.update(annotations=[]),
            'no object of the classes to be evaluated against',
        ),
        (
            lambda c: [
                i.update(id=f'object-{i["id"]}') for i in c['annotations']
            ],
            "annotation 'object-1': id is no number",
        ),
        (polygon(3, 3, 9, 9), 'annotation 1: segmentation is'),
    ],
)
def test_what_fails_at_the_end_of_a_validation(change, message, evaluate):
    content = make_content()
    change(content)
    with pytest.raises(ValueError, match=rf'fruit\.json: .*{message}'):
        evaluate(content)


def test_crowds_may_be_missing_in_training(load):
    content = make_content()
    for item in content['annotations']:
        del item['iscrowd']
    load(content)


def test_images_to_be_tested_on_come_without_annotations(load):
    content = make_content()
    del content['annotations']
    assert len(load(content, test_mode=True)) == 4


def test_metric_of_another_file(load, tmp_path):
    content = make_content()
    other = tmp_path / 'other.json'
    rename(content, 'image', lambda i: i + 1)
    other.write_text(json.dumps(content))
    dataset = load(make_content(), test_mode=True)
    with checked_loading():
        metric = CocoMetric(str(other))
    message = (
        r'other\.json: the metric has no image of id 1, but .*fruit\.json'
    )
    with pytest.raises(ValueError, match=message):
        check_evaluator(Evaluator(metric), dataset)


def test_annotation_0_is_a_false_positive_of_pycocotools(evaluate, lines):
    content = make_content()
    for item in content['annotations']:
        item['id'] -= 1
    evaluate(content)
    assert len(lines) == 1
    assert 'annotation 0: pycocotools takes' in lines[0]


def test_run_lengths_of_random_masks():
    """Compared with pycocotools, which has made them."""
    generator = np.random.default_rng(0)
    codes, totals, areas = [], [], []
    for i in range(200):
        height, width = generator.integers(1, 400, 2)
        mask = generator.random((height, width)) < (i % 5) / 4
        codes.append(encode(mask)['counts'])
        totals.append(height * width)
        areas.append(int(mask.sum()))
    assert np.stack(count_pixels(codes)).tolist() == [totals, areas]
    # A single code is what a list of one is.
    assert np.stack(count_pixels(codes[7:8])).tolist() == [
        totals[7:8],
        areas[7:8],
    ]
    wrong = ['0', '\x7f', 'o', 'é']
    assert count_pixels(wrong)[0].tolist() == [0, -1, -1, -1]


def test_our_own_uncompressed_run_lengths():
    mask = np.random.default_rng(0).random((9, 7)) < 0.5
    for value in (mask, ~mask):
        code = coco_mask.frPyObjects(encode(value, False), 9, 7)
        assert (coco_mask.decode(code) == value).all()


def test_everything_is_put_back(load):
    content = make_content()
    content['annotations'][0]['bbox'] = None
    before = COCO.__init__, BaseDataset._serialize_data
    with pytest.raises(ValueError, match='bbox'):
        load(content)
    assert (COCO.__init__, BaseDataset._serialize_data) == before


def test_files_of_coco(data_folder):
    """Real ones pass, with all that mmdet reads of them."""
    init_default_scope('mmdet')
    for split in ('train', 'val'):
        loader = Runner.build_dataloader(
            dict(
                dataset=dict(
                    type='CocoDataset',
                    data_root=f'{data_folder}/coco128/',
                    ann_file=f'annotations/instances_{split}2017.json',
                    data_prefix=dict(img=f'{split}2017/'),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(
                            type='LoadAnnotations',
                            with_bbox=True,
                            with_mask=True,
                        ),
                    ],
                ),
                sampler=dict(type='DefaultSampler', shuffle=False),
                batch_size=1,
                num_workers=0,
            )
        )
        assert len(loader.dataset) == 100
        assert all('gt_masks' in loader.dataset[i] for i in range(10))


OBJECT = (
    '<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin>'
    '<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>'
)


@pytest.mark.parametrize('serialize', [True, False])
@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (('fig', 5, 5, 20, 30), None),
        (
            ('Fig', 5, 5, 20, 30),
            "none of its 1 images has an object of the classes 'pear', 'fig'",
        ),
        (('fig', 20, 5, 5, 30), '0.xml: .*19, 4, 4, 29.*with x1 < x2'),
        (('fig', 5, 30, 20, 30), 'with x1 < x2 and y1 < y2'),
        (('fig', 95, 5, 99, 9), 'expected one in its image of 64 x 64'),
        (('fig', 'nan', 5, 99, 9), 'train.txt: .*cannot convert float NaN'),
    ],
)
def test_boxes_of_voc(values, message, serialize, tmp_path):
    init_default_scope('mmdet')
    (tmp_path / '0.xml').write_text(
        f'<annotation><size><width>{SIZE}</width><height>{SIZE}</height>'
        f'</size>{OBJECT.format(*values)}</annotation>'
    )
    (tmp_path / 'train.txt').write_text('0')
    dataset = dict(
        type='XMLDataset',
        data_root=str(tmp_path),
        ann_file='train.txt',
        ann_subdir='',
        img_subdir='',
        metainfo=dict(classes=('pear', 'fig')),
        data_prefix=dict(sub_data_root=''),
        serialize_data=serialize,
    )
    loader = dict(
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=False),
        batch_size=1,
        num_workers=0,
    )
    if message is None:
        assert len(Runner.build_dataloader(loader).dataset) == 1
    else:
        with pytest.raises(ValueError, match=message):
            Runner.build_dataloader(loader)


def test_segments_and_captions_are_left_to_the_libraries(tmp_path):
    init_default_scope('mmdet')
    content = dict(
        images=[dict(id=1, file_name='1.jpg', width=8, height=8)],
        categories=[dict(id=1, name='sky', isthing=0)],
        annotations=[
            dict(
                image_id=1,
                file_name='1.png',
                segments_info=[
                    dict(
                        id=3,
                        category_id=1,
                        iscrowd=0,
                        bbox=[0, 0, 8, 8],
                        area=64,
                    )
                ],
            )
        ],
    )
    path = tmp_path / 'panoptic.json'
    path.write_text(json.dumps(content))
    dataset = dict(
        type='CocoPanopticDataset',
        ann_file=str(path),
        data_prefix=dict(img='', seg=''),
        metainfo=dict(
            classes=('sky',), thing_classes=(), stuff_classes=('sky',)
        ),
        test_mode=True,
        pipeline=[],
    )
    with checked_loading() as files:
        assert len(DATASETS.build(dataset)) == 1
    assert files == {}
