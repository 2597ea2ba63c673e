# Copyright (c) mmactive contributors. All rights reserved.
"""Checks of objects that datasets read from files of other formats."""

from typing import List

import numpy as np
from mmengine.dataset import BaseDataset

from .classes import get_source, shorten


def check_instances(dataset: BaseDataset, records: List[dict]) -> None:
    """Checks the boxes of a dataset of objects, as VOC's.

    mmdet skips what it cannot learn of COCO's files, of others nothing.

    Args:
        dataset (BaseDataset): The dataset.
        records (list[dict]): What it has read. Without ``instances`` that have
            a ``bbox`` of four numbers each, there is nothing to check.

    Raises:
        ValueError: If a box has no extent or is not in its image, or if there
            is no object to be trained on. The error names the file.
    """
    count = 0
    for record in records:
        if not isinstance(record, dict) or 'instances' not in record:
            return
        for instance in record['instances']:
            box = np.asarray(instance.get('bbox'))
            if box.shape != (4,):  # as those that are rotated
                return
            if not instance.get('ignore_flag'):
                _check_box(record, box, dataset.test_mode)
            count += 1
    if count == 0 and len(records) > 0 and not dataset.test_mode:
        classes = shorten(list(dataset.metainfo.get('classes') or ()))
        raise ValueError(
            f'{get_source(dataset)}: none of its {len(records)} images has an '
            f'object of the classes {classes}'
        )


def _check_box(record: dict, box: np.ndarray, test_mode: bool) -> None:
    x1, y1, x2, y2 = box
    size = record.get('width'), record.get('height')
    expected = ''
    if not np.isfinite(box).all():
        expected = 'of finite numbers'
    elif x2 < x1 or y2 < y1 or (not test_mode and (x2 == x1 or y2 == y1)):
        expected = 'with x1 < x2 and y1 < y2'
    elif None not in size and (
        min(x2, y2) <= 0 or x1 >= size[0] or y1 >= size[1]
    ):
        expected = 'in its image of {} x {} pixels'.format(*size)
    if expected:
        file = record.get('xml_path') or record.get('img_path')
        raise ValueError(
            f'{file}: the box x1, y1, x2, y2 of an object is {box.tolist()}, '
            f'expected one {expected}'
        )
