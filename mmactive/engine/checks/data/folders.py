# Copyright (c) mmactive contributors. All rights reserved.
"""Checks of the labels of classification, and of files in folders."""

import os
import os.path as osp
from operator import itemgetter
from typing import List, Optional

from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file
from mmengine.logging import print_log


def check_labels(dataset: BaseDataset, records: List[dict]) -> None:
    """Checks the labels of images that are to be classified.

    Args:
        dataset (BaseDataset): The dataset.
        records (list[dict]): What it has read. Without ``gt_label``, one
            integer each, there is nothing to check.

    Raises:
        ValueError: If a label is no class, or if an image is listed with
            several. The error names annotation file and image.
    """
    try:
        labels = list(map(itemgetter('gt_label'), records))
        paths = list(map(itemgetter('img_path'), records))
    except (KeyError, TypeError):
        return
    if len(labels) == 0 or not set(map(type, labels)) <= {int}:
        return
    source = dataset.ann_file or dataset.data_prefix.get('img_path')
    classes = dataset.metainfo.get('classes')
    count = max(labels) + 1 if classes is None else len(classes)
    if min(labels) < 0 or max(labels) >= count:
        at = next(i for i, v in enumerate(labels) if not 0 <= v < count)
        raise ValueError(
            f'{source}: {paths[at]}: label is {labels[at]}, expected 0 to '
            f'{count - 1}, for {count} classes'
        )
    if not dataset.ann_file:
        return
    known = dict(zip(paths, labels))
    if len(known) < len(paths):
        for path, label in zip(paths, labels):
            if known[path] != label:
                raise ValueError(
                    f'{source}: {path}: label is {label} in one line and '
                    f'{known[path]} in another'
                )
        print_log(
            f'{source}: {len(paths) - len(known)} of {len(paths)} images are '
            'listed more than once',
            logger='current',
        )


def find_bad_line(dataset: BaseDataset) -> Optional[str]:
    """Says which line of mmpretrain's annotation file it cannot read."""
    readable = dataset.ann_file.endswith('.txt') and osp.isfile(
        dataset.ann_file
    )
    if not readable or not getattr(dataset, 'with_label', False):
        return None
    for number, line in enumerate(list_from_file(dataset.ann_file), 1):
        try:
            int(line.strip().rsplit(' ', 1)[1])
        except (IndexError, ValueError):
            return (
                f'line {number} is {line!r}, expected the name of a file, a '
                'blank and a label from 0 on'
            )
    return None


def check_folders(dataset: BaseDataset) -> None:
    """Checks a dataset whose classes are folders.

    Args:
        dataset (BaseDataset): mmpretrain's ``CustomDataset`` or a relative,
            else there is nothing to check.

    Raises:
        ValueError: If the folders have the classes' names, but another order.
    """
    folders = list(getattr(dataset, 'folder_to_idx', ()))
    root = dataset.data_prefix.get('img_path')
    if not folders or not root or not osp.isdir(root):
        return
    classes = list(dataset.metainfo.get('classes') or ())
    if classes != folders and sorted(classes) == folders:
        raise ValueError(
            f'{root}: labels are numbered in the order of the folders, '
            f'{", ".join(folders[:5])}, but the dataset has classes='
            f'{", ".join(classes[:5])}'
        )
    report_skipped(
        root,
        [osp.join(root, folder) for folder in folders],
        tuple(dataset.extensions),
        ignore_case=True,
    )


def report_skipped(
    root: str, folders: List[str], suffixes: tuple, ignore_case: bool = False
) -> None:
    """Says in one line how many files a dataset passes over.

    Args:
        root (str): The folder of all.
        folders (list[str]): Where it looks for files.
        suffixes (tuple[str]): What their names must end with.
        ignore_case (bool): Whether in lower case or upper case alike.
            Defaults to False.
    """
    skipped = []
    for folder in folders:
        for path, _, names in os.walk(folder):
            for name in names:
                key = name.lower() if ignore_case else name
                if not key.endswith(suffixes) and not name.startswith('.'):
                    skipped.append(osp.join(path, name))
    if skipped:
        print_log(
            f'{root}: skips {len(skipped)} files whose names do not end with '
            f'{", ".join(sorted(suffixes))}, such as {min(skipped)}',
            logger='current',
        )
