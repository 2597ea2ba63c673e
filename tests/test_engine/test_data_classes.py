# Copyright (c) mmactive contributors. All rights reserved.
"""What a label stands for: categories, folders, and classes of training."""

import json

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.registry import init_default_scope
from PIL import Image

from mmactive.engine import Runner
from mmactive.engine.checks.data import (
    check_same_classes,
    checked_loading,
    compare_classes,
)
from mmactive.engine.checks.data.classes import check_categories


def check(dataset):
    """Checks a dataset against its annotation file."""
    with checked_loading() as files:
        dataset._fully_initialized = False
        dataset.full_init()
    check_categories(dataset, files[dataset.ann_file])


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
            # Saves a collection of garbage.
            serialize_data=False,
            pipeline=[],
        )

    return make


def test_categories_are_the_classes(fruit):
    check(fruit(['pear', 'fig'], ('pear', 'fig')))
    # Other categories of the file are ignored.
    check(fruit(['kiwi', 'pear', 'fig'], ['pear', 'fig']))
    names = CocoDataset.METAINFO['classes']
    check(fruit(names, None))


def test_missing_category(fruit):
    dataset = fruit(['aple', 'pear', 'fig'], ('apple', 'pear', 'fig'))
    # What mmdet makes of it: pears have the label of apples.
    labels = [box['bbox_label'] for box in dataset[0]['instances']]
    assert labels == [0, 1]
    message = r"fruit\.json: it has 2 categories for 3 classes.*named 'apple'$"
    with pytest.raises(ValueError, match=message):
        check(dataset)
    # The classes of COCO, where somebody forgot to give their own
    with pytest.raises(ValueError, match=r"for 80 classes.*'bicycle', 'car'"):
        check(fruit(['cat', 'person'], None))


def test_order_of_categories(fruit):
    dataset = fruit(['fig', 'pear'], ('pear', 'fig'))
    # What mmdet makes of it: figs have the label of pears.
    labels = [box['bbox_label'] for box in dataset[0]['instances']]
    assert labels == [0, 1]
    message = "order.*'fig', 'pear', but .*classes='pear', 'fig'"
    with pytest.raises(ValueError, match=message):
        check(dataset)


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


def test_names_that_are_there_twice(fruit):
    message = r"none that is named 'pear', and several that are named 'fig'$"
    with pytest.raises(ValueError, match=message):
        check(fruit(['fig', 'fig'], ('pear', 'fig')))


# Classification


def write_folders(root, names, count=2):
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(count):
            image = Image.fromarray(np.full((8, 8, 3), 9 * i, np.uint8))
            image.save(root / name / f'{i}.png')


@pytest.fixture
def classes_of(tmp_path):
    """Builds a dataset of a folder, which is written first."""
    init_default_scope('mmpretrain')

    def make(split, names=(), **kwargs):
        write_folders(tmp_path / split, names)
        dataset = dict(
            type='CustomDataset',
            data_root=str(tmp_path),
            data_prefix=split,
            pipeline=[dict(type='LoadImageFromFile')],
            serialize_data='ann_file' in kwargs,
        )
        loader = dict(
            dataset=dict(dataset, **kwargs),
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=1,
            num_workers=0,
        )
        return Runner.build_dataloader(loader).dataset

    return make


@pytest.fixture
def lines(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmactive.engine.checks.data.folders.print_log',
        lambda text, **kwargs: lines.append(text),
    )
    return lines


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        # In another order: upper case comes first.
        (['Pear', 'apple'], "label 0 is 'Pear', but 'apple' in"),
        (['apple', 'zebra'], "label 1 is 'zebra', but 'pear' in"),
        (['pear', 'zebra'], "label 0 is 'pear', but 'apple' in"),
        (['a', 'b'], "label 0 is 'a', but 'apple' in"),
        (['pear'], "label 0 is 'pear', but 'apple' in"),
        (['apple'], "label 1 is no class, but 'pear' in"),
        (['apple', 'pear', 'plum'], "label 2 is 'plum', but no class in"),
        (['apple', 'orange', 'pear'], "label 1 is 'orange', but 'pear' in"),
    ],
)
def test_folders_of_validation_are_those_of_training(
    names, message, classes_of
):
    train = classes_of('train', ['apple', 'pear'])
    check_same_classes(classes_of('same', ['pear', 'apple']), train)
    val = classes_of('val', names)
    with pytest.raises(ValueError, match=rf'val: {message} .*train; by the'):
        check_same_classes(val, train)


def test_classes_of_a_checkpoint(classes_of):
    """It knows names, but not where they are from."""
    val = classes_of('val', ['apple', 'pear'])
    compare_classes(val, ('apple', 'pear'), 'a.pth')
    # ImageNet's folders are not named like its classes.
    compare_classes(val, ('Apfel', 'Birne'), 'a.pth')
    compare_classes(val, (), 'a.pth')
    for classes in (('pear', 'apple'), ('apple', 'fig'), ('apple',)):
        with pytest.raises(ValueError, match=r'a\.pth; by the order of the'):
            compare_classes(val, classes, 'a.pth')


def test_names_of_folders_in_another_order(classes_of):
    names = ['apple', 'pear']
    classes_of('train', names, metainfo=dict(classes=('Apfel', 'Birne')))
    with pytest.raises(ValueError, match=r'order of the folders, apple, pear'):
        classes_of('train', metainfo=dict(classes=('pear', 'apple')))


def test_files_that_are_no_images_are_counted(classes_of, tmp_path, lines):
    train = classes_of('train', ['apple', 'pear'])
    assert lines == []
    folder = tmp_path / 'train/apple'
    (folder / '0.png').rename(folder / '0.PNG')
    (folder / '1.png').rename(folder / '1.webp')
    (folder / 'deeper').mkdir()
    (folder / 'deeper/notes.txt').write_text('x')
    (folder / '.hidden').write_text('x')
    assert len(classes_of('train')) == len(train) - 1
    assert len(lines) == 1
    assert 'skips 2 files whose names do not end with .bmp, .jpeg' in lines[0]
    assert lines[0].endswith('train/apple/1.webp')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('apple/0.png 0\npear/0.png 2\n', r'pear/0\.png: label is 2, expect'),
        ('apple/0.png -1\n', r'apple/0\.png: label is -1, expected 0 to 1'),
        ('apple/0.png 0\napple/0.png 1\n', 'label is 0 in one line and 1 in'),
        (
            'apple/0.png 0\napple/1.png\n',
            r"line 2 is 'apple/1\.png', expected",
        ),
        ('apple/0.png 0\n\n', "line 2 is '', expected the name of a file"),
        ('apple/0.png zero\n', r"line 1 is 'apple/0\.png zero', expected"),
        ('apple/0.png\t0\n', r"line 1 is 'apple/0\.png\\t0', expected"),
        ('', 'the dataset has no image that it could use'),
    ],
)
def test_lists_of_labels(text, message, classes_of, tmp_path):
    write_folders(tmp_path / 'train', ['apple', 'pear'])
    (tmp_path / 'train.txt').write_text(text)
    kwargs = dict(
        ann_file='train.txt', metainfo=dict(classes=('apple', 'pear'))
    )
    with pytest.raises(ValueError, match=rf'train\.txt: .*{message}'):
        classes_of('train', **kwargs)


def test_images_that_are_listed_twice_are_counted(classes_of, tmp_path, lines):
    (tmp_path / 'train.txt').write_text('apple/0.png 0\n' * 2 + 'b.png 1\n')
    assert len(classes_of('train', ['apple'], ann_file='train.txt')) == 3
    assert lines[0].endswith(
        'train.txt: 1 of 3 images are listed more than once'
    )


def test_names_with_blanks(classes_of, tmp_path):
    (tmp_path / 'train.txt').write_text('an apple/0.png 0\npear/1.png 1\n')
    data = classes_of('train', ['an apple', 'pear'], ann_file='train.txt')
    assert [data[i]['gt_label'] for i in range(2)] == [0, 1]
