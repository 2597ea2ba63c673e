# Copyright (c) mmactive contributors. All rights reserved.
import hashlib
import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

FOLDER = Path(__file__).parents[2] / 'tools' / 'dataset_converters'
SPLITS = [('train2017', 'training'), ('val2017', 'validation')]


@pytest.fixture
def digit_scenes(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import digit_scenes

    return digit_scenes


def run(out_dir, *options):
    command = [sys.executable, str(FOLDER / 'digit_scenes.py'), str(out_dir)]
    command += ['--train', '8', '--val', '5']
    return subprocess.run([*command, *options], capture_output=True, text=True)


def convert(out_dir, *options):
    result = run(out_dir, *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'digit_scenes'
    assert convert(root) == f'{root}: written\n'
    return root


def load_coco(scenes, split):
    return COCO(scenes / 'coco' / 'annotations' / f'instances_{split}.json')


def files(folder):
    """Hashes of all files in a folder, by their names."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.mark.parametrize(
    ('split', 'number'), [('train2017', 8), ('val2017', 5)]
)
def test_coco_annotations_agree_with_masks(scenes, split, number):
    coco = load_coco(scenes, split)
    assert [cat['name'] for cat in coco.loadCats(coco.getCatIds())] == list(
        '0123456789'
    )
    assert len(coco.imgs) == number
    for image_id, image in coco.imgs.items():
        path = scenes / 'coco' / split / image['file_name']
        with Image.open(path) as picture:
            assert picture.mode == 'RGB'
            assert picture.size == (image['width'], image['height'])
        annotations = coco.imgToAnns[image_id]
        assert 3 <= len(annotations) <= 6
        masks = [coco.annToMask(annotation) for annotation in annotations]
        # What a later digit covers belongs to it alone.
        assert np.sum(masks, axis=0).max() == 1
        for annotation, mask in zip(annotations, masks):
            assert annotation['iscrowd'] == 0
            assert annotation['area'] == mask.sum() > 0
            ys, xs = mask.nonzero()
            left, top = xs.min(), ys.min()
            assert annotation['bbox'] == [
                left,
                top,
                xs.max() + 1 - left,
                ys.max() + 1 - top,
            ]


@pytest.mark.parametrize(('coco_split', 'ade_split'), SPLITS)
def test_semantic_map_is_union_of_instances(scenes, coco_split, ade_split):
    coco = load_coco(scenes, coco_split)
    ade = scenes / 'ade20k'
    assert len(list((ade / 'images' / ade_split).iterdir())) == len(coco.imgs)
    for image_id, image in coco.imgs.items():
        name = Path(image['file_name'])
        assert (ade / 'images' / ade_split / name).read_bytes() == (
            scenes / 'coco' / coco_split / name
        ).read_bytes()
        expected = np.full((image['height'], image['width']), 1)
        for annotation in coco.imgToAnns[image_id]:
            mask = coco.annToMask(annotation).astype(bool)
            digit = coco.cats[annotation['category_id']]['name']
            expected[mask] = 2 + int(digit)
        path = ade / 'annotations' / ade_split / name.with_suffix('.png')
        with Image.open(path) as semantic:
            np.testing.assert_array_equal(np.asarray(semantic), expected)


def test_reproducible(scenes, tmp_path):
    convert(tmp_path / 'again')
    assert files(tmp_path / 'again') == files(scenes)
    convert(tmp_path / 'other', '--seed', '1')
    other, names = files(tmp_path / 'other'), files(scenes)
    assert other.keys() == names.keys()
    assert all(other[name] != names[name] for name in names)
    assert convert(scenes) == f'{scenes}: already there\n'


@pytest.mark.parametrize(
    ('option', 'value'), [('--train', '0'), ('--val', '-3'), ('--seed', '-1')]
)
def test_bad_arguments(option, value, tmp_path):
    result = run(tmp_path / 'scenes', option, value)
    assert result.returncode == 2
    assert f'{option} must be at least' in result.stderr
    assert not list(tmp_path.iterdir())


def test_splits_share_neither_digits_nor_backgrounds(digit_scenes):
    train, val = (
        digit_scenes.SceneComposer(split, seed=0) for split in ('train', 'val')
    )
    assert (len(train.labels), len(val.labels)) == (1437, 360)
    inks = [{ink.tobytes() for ink in split.inks} for split in (train, val)]
    assert inks[0].isdisjoint(inks[1])
    for one, other in zip(train.backgrounds, val.backgrounds):
        assert not np.shares_memory(one, other)


def test_digits_are_visible_and_overlap(digit_scenes):
    composer = digit_scenes.SceneComposer('train', seed=0)
    overlaps, sizes = 0, []
    for _ in range(40):
        _, masks, labels = composer.compose()
        assert len(masks) == len(labels)
        boxes = []
        for mask in masks:
            ys, xs = mask.nonzero()
            boxes.append((xs.min(), ys.min(), xs.max(), ys.max()))
            sizes.append(ys.max() + 1 - ys.min())
        for a, b in combinations(boxes, 2):
            overlaps += all(
                a[i] <= b[i + 2] and b[i] <= a[i + 2] for i in (0, 1)
            )
    assert overlaps > 20
    assert min(sizes) < 30 < 48 < max(sizes)


def test_every_digit_finds_a_place(digit_scenes):
    # Digits on digits on a bright photograph leave no colour brighter still.
    for split in 'train', 'val':
        composer = digit_scenes.SceneComposer(split, seed=0)
        for _ in range(200):
            composer.compose()


def test_libraries_read_the_scenes(scenes):
    from mmdet.datasets import CocoDataset
    from mmdet.utils import register_all_modules
    from mmseg.datasets import BaseSegDataset

    register_all_modules()
    detection = CocoDataset(
        data_root=str(scenes / 'coco'),
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        metainfo=dict(classes=tuple('0123456789')),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
        ],
    )
    segmentation = BaseSegDataset(
        data_root=str(scenes / 'ade20k'),
        data_prefix=dict(
            img_path='images/validation', seg_map_path='annotations/validation'
        ),
        metainfo=dict(classes=('background', *'0123456789')),
        img_suffix='.jpg',
        reduce_zero_label=True,
        pipeline=[dict(type='mmseg.LoadAnnotations', reduce_zero_label=True)],
    )
    assert len(detection) == len(segmentation) == 5
    for i in range(5):
        instances, semantic = detection[i], segmentation[i]['gt_seg_map']
        expected = np.zeros_like(semantic)
        masks = instances['gt_masks'].masks
        for mask, label in zip(masks, instances['gt_bboxes_labels']):
            expected[mask.astype(bool)] = label + 1
        np.testing.assert_array_equal(semantic, expected)


def test_interrupted_run_leaves_nothing(digit_scenes, tmp_path, monkeypatch):
    calls = []

    def interrupted(masks, labels):
        calls.append(len(masks))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return coco_annotations(masks, labels)

    coco_annotations = digit_scenes.coco_annotations
    monkeypatch.setattr(digit_scenes, 'coco_annotations', interrupted)
    out_dir = tmp_path / 'digit_scenes'
    command = ['digit_scenes.py', str(out_dir), '--train', '4', '--val', '2']
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(KeyboardInterrupt):
        digit_scenes.main()
    assert not out_dir.exists()

    digit_scenes.main()
    annotations = out_dir / 'coco' / 'annotations'
    content = json.loads(
        (annotations / 'instances_train2017.json').read_text()
    )
    assert len(content['images']) == 4
    assert len(list((out_dir / 'coco' / 'train2017').iterdir())) == 4


@pytest.mark.parametrize(
    ('constant', 'value'),
    [
        ('SIZE', 144),
        ('NUM_DIGITS', (3, 5)),
        ('DIGIT_SIZE', (32, 56)),
        ('MIN_INK', 0.4),
        ('MIN_VISIBLE', 0.6),
        ('MIN_CONTRAST', 60),
        ('MAX_GROUND', 140),
    ],
)
def test_scenes_of_other_constants_are_not_taken(
    constant, value, digit_scenes, scenes, monkeypatch
):
    before = files(scenes)
    monkeypatch.setattr(digit_scenes, constant, value)
    command = ['digit_scenes.py', str(scenes), '--train', '8', '--val', '5']
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(FileExistsError, match=constant.lower()):
        digit_scenes.main()
    assert files(scenes) == before
