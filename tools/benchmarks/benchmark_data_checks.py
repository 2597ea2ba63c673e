# Copyright (c) mmactive contributors. All rights reserved.
"""Measures what checking an annotation file adds to loading it.

Writes a file of polygons about as long as COCO's, and loads it as mmengine's
runner does and as the one of this package does, in turns.
"""

import argparse
import contextlib
import gc
import io
import json
import os.path as osp
import statistics
import tempfile
import time
from typing import Callable

import numpy as np
from mmengine.registry import init_default_scope
from mmengine.runner import Runner as MMEngineRunner

from mmactive.engine import Runner
from mmactive.engine.checks.data.coco import CocoFile

WIDTH, HEIGHT = 640, 480
PER_IMAGE = 7  # objects, as in COCO
NUM_CLASSES = 80


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--annotations', type=int, default=100_000)
    parser.add_argument('--repeats', type=int, default=5)
    return parser.parse_args()


def make_content(count: int) -> dict:
    """Makes the content of a file of ``count`` annotations."""
    generator = np.random.default_rng(0)
    images = [
        dict(id=i, file_name=f'{i:012d}.jpg', width=WIDTH, height=HEIGHT)
        for i in range(-(-count // PER_IMAGE))
    ]
    annotations = []
    for i in range(count):
        # 25 points in the mean
        points = int(np.clip(generator.lognormal(3.0, 0.7), 3, 200))
        angles = np.sort(generator.uniform(0, 2 * np.pi, points))
        radius = generator.uniform(5, 90)
        outline = radius * np.stack([np.cos(angles), np.sin(angles)], 1)
        outline += generator.uniform(100, 380, 2)
        outline = outline.round(2)
        corner, end = outline.min(0), outline.max(0)
        annotations.append(
            dict(
                segmentation=[outline.ravel().tolist()],
                area=float((end - corner).prod()),
                iscrowd=0,
                image_id=i // PER_IMAGE,
                bbox=[*corner.tolist(), *(end - corner).round(2).tolist()],
                category_id=int(generator.integers(NUM_CLASSES)),
                id=i + 1,
            )
        )
    categories = [dict(id=i, name=str(i)) for i in range(NUM_CLASSES)]
    return dict(images=images, annotations=annotations, categories=categories)


def make_loader(path: str) -> dict:
    """Makes the config of a dataloader of boxes and masks."""
    return dict(
        dataset=dict(
            type='CocoDataset',
            ann_file=path,
            data_prefix=dict(img=''),
            metainfo=dict(classes=tuple(map(str, range(NUM_CLASSES)))),
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            ],
        ),
        sampler=dict(type='DefaultSampler', shuffle=True),
        batch_size=2,
        num_workers=0,
    )


def measure(call: Callable, *args: object) -> float:
    """Returns the seconds of processor time that a call takes."""
    gc.collect()
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        call(*args)
    return time.process_time() - start


def check(content: dict) -> None:
    """Does all that is checked of a file of masks."""
    file = CocoFile(content, 'file')
    file.find_skipped()
    file.check_masks(file.select(file.category_ids))


def main() -> None:
    """Runs the command."""
    args = parse_args()
    init_default_scope('mmdet')
    with tempfile.TemporaryDirectory() as folder:
        path = osp.join(folder, 'annotations.json')
        with open(path, 'w') as file:
            json.dump(make_content(args.annotations), file)
        size = osp.getsize(path) / 1e6
        cases = {
            "mmengine's runner": lambda: MMEngineRunner.build_dataloader(
                make_loader(path)
            ),
            "mmactive's runner, which checks": lambda: Runner.build_dataloader(
                make_loader(path)
            ),
        }
        seconds = {name: [] for name in [*cases, 'the checks alone']}
        for _ in range(args.repeats):
            for name, call in cases.items():
                seconds[name].append(measure(call))
        with open(path) as file:
            content = json.load(file)
        for _ in range(args.repeats):
            seconds['the checks alone'].append(measure(check, content))
    print(f'{args.annotations:,} annotations with masks, {size:.0f} MB')
    base = statistics.median(seconds["mmengine's runner"])
    for name, values in seconds.items():
        value = statistics.median(values)
        print(f'{name:32s} {value:7.3f} s {value / base:8.1%}')


if __name__ == '__main__':
    main()
