# Copyright (c) mmactive contributors. All rights reserved.
"""Fits eight COCO images from random weights, in ten minutes for each task.

What the configs train towards, what they predict, and what is evaluated must
fit together for that. Nothing but sizes and the schedule is changed.
"""

import json
import os
from collections import defaultdict

import pytest

from .conftest import ROOT
from .test_train import read_log

# Of two-stage detectors alone
FEWER_REGIONS = """
model['train_cfg'] = dict(
    rpn_proposal=dict(nms_pre=500, max_per_img=200),
    rcnn=dict(sampler=dict(num=64)))
"""

DETECTOR = """
_base_ = 'CONFIG'
model = dict(backbone=dict(init_cfg=None, drop_path_rate=0.0))
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=(256, 256))
train_pipeline[3].update(prob=0.0)  # flip
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(256, 256))
dataset = dict(
    type='CocoDataset', data_root='boxes/', ann_file='boxes.json',
    data_prefix=dict(img='images/'))
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    dataset=dict(
        _delete_=True, type='RepeatDataset', times=15,
        dataset=dict(dataset, pipeline=train_pipeline)))
val_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='boxes/boxes.json')
test_evaluator = val_evaluator
max_epochs = 8
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(lr=4e-4), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(
        type='CosineAnnealingLR', T_max=max_epochs, end=max_epochs,
        by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(logger=dict(interval=10))
randomness = dict(seed=0)
"""

SEGMENTOR = """
_base_ = 'CONFIG'
size = (128, 128)
model = dict(
    data_preprocessor=dict(size=size),
    pretrained=None,
    backbone=dict(BACKBONE))
load, annotations, *_, pack = _base_.train_pipeline
resize = dict(type='Resize', scale=size)
dataset = dict(
    data_root='areas',
    data_prefix=dict(img_path='images', seg_map_path='labels'))
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    dataset=dict(dataset, pipeline=[load, annotations, resize, pack]))
val_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False,
    dataset=dict(dataset, pipeline=[load, resize, annotations, pack]))
test_dataloader = val_dataloader
max_iters = 200
train_cfg = dict(max_iters=max_iters, val_interval=50)
optim_wrapper = dict(
    optimizer=dict(lr=RATE), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(
        type='CosineAnnealingLR', begin=20, T_max=max_iters - 20,
        end=max_iters, by_epoch=False)]
default_hooks = dict(
    logger=dict(interval=10), checkpoint=dict(interval=max_iters))
randomness = dict(seed=0)
"""


@pytest.fixture
def place(tmp_path, data_folder, monkeypatch):
    """A folder with the eight images whose smallest objects are largest."""
    coco = data_folder / 'coco128'
    path = coco / 'annotations' / 'instances_train2017.json'
    content = json.loads(path.read_text())
    objects = defaultdict(list)
    for annotation in content['annotations']:
        objects[annotation['image_id']].append(annotation)

    def smallest_object(image):
        boxes = [annotation['bbox'] for annotation in objects[image['id']]]
        area = min((w * h for _, _, w, h in boxes), default=0)
        return area / (image['width'] * image['height'])

    images = sorted(content['images'], key=smallest_object)[-8:]
    annotations = [a for image in images for a in objects[image['id']]]
    for folder in ('boxes', 'areas/images', 'areas/labels'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'boxes/images').symlink_to(coco / 'train2017')
    (tmp_path / 'boxes/boxes.json').write_text(
        json.dumps(dict(content, images=images, annotations=annotations))
    )
    for image in images:
        name = os.path.splitext(image['file_name'])[0]
        for kind, target, suffix in (
            ('images', 'images', '.jpg'),
            ('annotations', 'labels', '.png'),
        ):
            source = data_folder / 'ade_layout' / kind / 'training'
            path = tmp_path / 'areas' / target / f'{name}{suffix}'
            path.symlink_to(source / path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train_detector(config, text, place, run_tool):
    text = text.replace('CONFIG', f'{ROOT}/configs/coco/{config}')
    (place / 'detector.py').write_text(text)
    run_tool('train.py', 'detector.py')
    return read_log(place / 'work_dirs/detector')[-1]


def train_segmentor(config, backbone, lr, place, run_tool):
    text = SEGMENTOR.replace('CONFIG', f'{ROOT}/configs/ade20k/{config}')
    text = text.replace('BACKBONE', backbone).replace('RATE', lr)
    (place / 'segmentor.py').write_text(text)
    run_tool('train.py', 'segmentor.py')
    return read_log(place / 'work_dirs/segmentor')[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    'config',
    [
        'mask-rcnn_activemlp-xtiny_fpn_1x_coco.py',
        'peers/mask-rcnn_swin-tiny_fpn_1x_coco.py',
    ],
)
def test_mask_rcnn(config, place, run_tool):
    text = DETECTOR + FEWER_REGIONS
    metrics = train_detector(config, text, place, run_tool)
    assert metrics['coco/bbox_mAP'] > 0.8
    assert metrics['coco/bbox_mAP_50'] > 0.95
    assert metrics['coco/segm_mAP'] > 0.7
    assert metrics['coco/segm_mAP_50'] > 0.85


@pytest.mark.slow
def test_retinanet(place, run_tool):
    config = 'peers/retinanet_pvt-tiny_fpn_1x_coco.py'
    metrics = train_detector(config, DETECTOR, place, run_tool)
    assert metrics['coco/bbox_mAP'] > 0.6
    assert metrics['coco/bbox_mAP_50'] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'backbone', 'lr', 'expected'),
    [
        (
            'upernet_activemlp-xtiny_8xb2-160k_ade20k-512x512.py',
            'init_cfg=None, drop_path_rate=0.0',
            '5e-4',
            80,
        ),
        (
            'peers/upernet_twins-svt-small_8xb2-160k_ade20k-512x512.py',
            'init_cfg=None, drop_path_rate=0.0',
            '5e-4',
            70,
        ),
        ('peers/fpn_resnet18_8xb4-40k_ade20k-512x512.py', '', '0.05', 70),
    ],
)
def test_segmentors(config, backbone, lr, expected, place, run_tool):
    metrics = train_segmentor(config, backbone, lr, place, run_tool)
    assert metrics['mIoU'] > expected
