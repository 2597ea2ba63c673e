# Copyright (c) mmactive contributors. All rights reserved.
"""Synthetic data and small configs of the three tasks, and ways to run tools.

The configs inherit the installed libraries' bases, as a user's would, and put
a narrow ActiveMLP in.
"""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.utils import ManagerMixin

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'

ARCH = """dict(
    depths=[2, 1, 1, 2], dims=[16, 16, 32, 32], mlp_ratios=[2, 2, 2, 2],
    shared_channels=[2, 2, 4, 4], interval=2)"""

CLASSIFIER = f"""
_base_ = [
    '{ROOT}/configs/_base_/backbones/activemlp.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_conformer.py',
    'mmpretrain::_base_/default_runtime.py',
]
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmactive.ActiveMLP', arch={ARCH}, gap=True),
    head=dict(
        type='LinearClsHead', num_classes=2, in_channels=32,
        loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(
    num_classes=2, mean=[127.0] * 3, std=[64.0] * 3, to_rgb=True)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=8, num_workers=0,
    dataset=dict(
        type='CustomDataset', data_root='data/classes', pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=8, num_workers=0,
    dataset=dict(
        type='CustomDataset', data_root='data/classes', pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=1)
test_evaluator = val_evaluator
param_scheduler = []
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
randomness = dict(seed=0)
"""

DETECTOR = f"""
_base_ = [
    '{ROOT}/configs/_base_/backbones/activemlp.py',
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        _delete_=True, type='mmactive.ActiveMLP', arch={ARCH},
        out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[16, 16, 32, 32], out_channels=16),
    bbox_head=dict(
        num_classes=1, in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.0, max_per_img=10))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                   'scale_factor')),
]
data_root = 'data/boxes/'
dataset = dict(
    data_root=data_root, ann_file='boxes.json',
    data_prefix=dict(img='images/'), metainfo=dict(classes=('square',)),
    pipeline=pipeline)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dataset)
val_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'boxes.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
randomness = dict(seed=0)
"""

SEGMENTOR = f"""
_base_ = [
    '{ROOT}/configs/_base_/backbones/activemlp.py',
    'mmseg::_base_/models/fpn_r50.py',
    'mmseg::_base_/schedules/schedule_20k.py',
    'mmseg::_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    pretrained=None,
    backbone=dict(
        _delete_=True, type='mmactive.ActiveMLP', arch={ARCH},
        out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[16, 16, 32, 32], out_channels=16),
    decode_head=dict(
        in_channels=[16] * 4, channels=16, num_classes=2,
        norm_cfg=dict(type='GN', num_groups=2)))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
data_root = 'data/areas'
dataset = dict(
    type='BaseSegDataset', data_root=data_root, img_suffix='.png',
    data_prefix=dict(img_path='images', seg_map_path='labels'),
    metainfo=dict(
        classes=('ground', 'square'), palette=[[0, 0, 0], [255, 0, 0]]),
    pipeline=pipeline)
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dataset,
    sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = dict(
    batch_size=1, num_workers=0, dataset=dataset,
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='RandomFlip', prob=0.0),
             dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ]),
]
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(interval=2))
randomness = dict(seed=0)
"""

CONFIGS = dict(classifier=CLASSIFIER, detector=DETECTOR, segmentor=SEGMENTOR)


def draw_square(generator, size=128):
    """Draws a bright square on noise; returns image, corner and side."""
    image = generator.integers(0, 100, (size, size, 3), dtype=np.uint8)
    side = int(generator.integers(size // 4, size // 2))
    x, y = (int(v) for v in generator.integers(0, size - side, 2))
    image[y : y + side, x : x + side] = 255 - image[y : y + side, x : x + side]
    return image, x, y, side


def write_data(folder):
    """Writes 16 images of two classes, and 4 with a square to be found."""
    generator = np.random.default_rng(0)
    for name, level in (('dark', 80), ('light', 170)):
        (folder / 'classes' / name).mkdir(parents=True)
        for i in range(8):
            noise = generator.integers(-60, 60, (32, 32, 3))
            cv2.imwrite(
                str(folder / 'classes' / name / f'{i}.png'),
                (level + noise).astype(np.uint8),
            )
    for name in ('boxes/images', 'areas/images', 'areas/labels'):
        (folder / name).mkdir(parents=True)
    images, annotations = [], []
    for i in range(4):
        image, x, y, side = draw_square(generator)
        label = np.zeros(image.shape[:2], np.uint8)
        label[y : y + side, x : x + side] = 1
        cv2.imwrite(str(folder / f'boxes/images/{i}.png'), image)
        cv2.imwrite(str(folder / f'areas/images/{i}.png'), image)
        cv2.imwrite(str(folder / f'areas/labels/{i}.png'), label)
        height, width = label.shape
        images.append(
            dict(id=i, file_name=f'{i}.png', height=height, width=width)
        )
        annotations.append(
            dict(
                id=i + 1,
                image_id=i,
                category_id=1,
                bbox=[x, y, side, side],
                area=side * side,
                iscrowd=0,
            )
        )
    content = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=1, name='square')],
    )
    (folder / 'boxes/boxes.json').write_text(json.dumps(content))


@pytest.fixture(scope='session')
def synthetic_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('synthetic')
    write_data(folder)
    return folder


@pytest.fixture
def workspace(tmp_path, synthetic_data, monkeypatch):
    """An empty folder to work in, with ``data/`` and ``<task>.py``."""
    (tmp_path / 'data').symlink_to(synthetic_data)
    for name, text in CONFIGS.items():
        (tmp_path / f'{name}.py').write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def forget_runs(kind=ManagerMixin):
    """Makes mmengine forget the visualizers, loggers ... of earlier runs."""
    for subclass in kind.__subclasses__():
        subclass._instance_dict.clear()
        forget_runs(subclass)


@pytest.fixture
def run_tool(monkeypatch):
    """Runs a tool in this process, which saves the imports."""

    def run(tool, *args):
        path = TOOLS / tool
        forget_runs()
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, args)])
        monkeypatch.delenv('LOCAL_RANK', raising=False)
        runpy.run_path(str(path), run_name='__main__')

    return run


@pytest.fixture
def start_process():
    """Runs a command as users do; returns what it printed."""

    def start(*command, returncode=0, **env):
        defaults = dict(
            OMP_NUM_THREADS='1',
            PYTHON=sys.executable,
            PYTHONWARNINGS='ignore',
        )
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, **defaults, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == returncode, done.stdout[-4000:]
        return done.stdout

    return start
