# Copyright (c) mmactive contributors. All rights reserved.
"""Checks of label maps, images whose pixels are classes."""

import os
import os.path as osp
from typing import Callable, Optional

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from .folders import report_skipped
from .images import CheckedPipeline, count_classes

# How many label maps are looked at before training, in the search for one
# that has a label
NUM_LOOKED_AT = 200


def check_label_maps(dataset: BaseDataset) -> None:
    """Checks that the images of a dataset have label maps with labels.

    Args:
        dataset (BaseDataset): One of mmseg's, else there is nothing to check.

    Raises:
        FileNotFoundError: If an image has no label map. The error names it.
        ValueError: If no pixel has a label, or if it seems that 255 is meant
            to be one.
    """
    loader = find_loader(dataset)
    if loader is None or not hasattr(dataset, 'ignore_index'):
        return
    load = CheckedPipeline(dataset, [loader])
    check_files(dataset)
    values, count = set(), 0
    step = max(1, len(dataset) // NUM_LOOKED_AT)
    for i in range(0, len(dataset), step):
        record = dataset.get_data_info(i)
        record.setdefault('seg_fields', [])
        record.pop('img_path', None)  # which is not used yet
        labels = np.unique(load(record)['gt_seg_map']).tolist()
        values.update(labels)
        count += 1
        if values - {0, dataset.ignore_index} or (
            dataset.reduce_zero_label and 0 in values
        ):
            return
    folder = dataset.data_prefix.get('seg_map_path') or dataset.ann_file
    if values == {dataset.ignore_index}:
        hint = ' or 0' if dataset.reduce_zero_label else ''
        raise ValueError(
            f'{folder}: every pixel of {count} label maps is '
            f'{dataset.ignore_index}{hint}, which is ignored; expected labels '
            'of classes'
        )
    if count_classes(dataset) == 1:
        return
    if values == {0, dataset.ignore_index}:
        raise ValueError(
            f'{folder}: all pixels of {count} label maps are 0 or '
            f'{dataset.ignore_index}, which is ignored; a mask of two classes '
            'has the labels 0 and 1'
        )
    print_log(
        f'{folder}: all pixels of {count} label maps are of label 0',
        logger='current',
    )


def find_loader(dataset: BaseDataset) -> Optional[Callable]:
    """Returns the transform that loads label maps, None without one."""
    for transform in dataset.pipeline.transforms:
        if getattr(transform, 'with_seg', False):
            return transform
    return None


def check_files(dataset: BaseDataset) -> None:
    """Checks that all images have label maps, and counts what is left over."""
    images = dataset.data_prefix.get('img_path')
    maps = dataset.data_prefix.get('seg_map_path')
    if not images or not maps or not (osp.isdir(images) and osp.isdir(maps)):
        return
    there = {
        osp.normpath(osp.join(path, name))
        for path, _, names in os.walk(maps)
        for name in names
    }
    needed = [
        dataset.get_data_info(i)['seg_map_path'] for i in range(len(dataset))
    ]
    missing = [path for path in needed if osp.normpath(path) not in there]
    if missing:
        more = f' (and for {len(missing) - 1} others)' * (len(missing) > 1)
        raise FileNotFoundError(
            f'{missing[0]}: there is no such label map{more}, but the image is'
            f' in {images}'
        )
    if dataset.ann_file or dataset._indices is not None:
        return
    suffixes = (dataset.img_suffix, dataset.seg_map_suffix)
    report_skipped(images, [images], suffixes)
    others = there.difference(map(osp.normpath, needed))
    unused = [path for path in others if path.endswith(suffixes[1])]
    if unused:
        print_log(
            f'{maps}: skips {len(unused)} label maps without an image, such '
            f'as {min(unused)}',
            logger='current',
        )
