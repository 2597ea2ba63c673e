# Copyright (c) mmactive contributors. All rights reserved.
"""Checks of a dataset as a whole, once it has been built."""

import itertools
import logging
import os.path as osp
import sys
from typing import Dict, Iterable, Iterator, List, Optional

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.utils import ProgressBar
from torch.utils.data import DataLoader, Dataset

from .classes import (
    check_categories,
    compare_categories,
    compare_classes,
    get_source,
)
from .coco import CocoFile
from .folders import check_folders, check_labels
from .images import CheckedPipeline
from .instances import check_instances
from .label_maps import check_label_maps


def iter_leaves(dataset: Dataset) -> Iterator[Dataset]:
    """Yields the datasets that load images, without the wrappers of them."""
    if hasattr(dataset, 'dataset'):
        yield from iter_leaves(dataset.dataset)
    elif hasattr(dataset, 'datasets'):
        for child in dataset.datasets:
            yield from iter_leaves(child)
    else:
        yield dataset


def check_dataset(dataset: BaseDataset, files: Dict[str, CocoFile]) -> None:
    """Checks a dataset, and says what it skips.

    Args:
        dataset (BaseDataset): The dataset.
        files (dict[str, CocoFile]): The annotation files that have been read
            meanwhile.

    Raises:
        ValueError: If what a label stands for is not clear, if masks are
            broken, or if nothing of the dataset can be learned. The error
            names the file.
        FileNotFoundError: If an image has no label map.
    """
    file = files.get(dataset.ann_file)
    if file is not None and hasattr(dataset, 'cat_ids'):
        check_categories(dataset, file)
        check_annotations(dataset, file)
    if not dataset.serialize_data:
        check_labels(dataset, dataset.data_list)
        if file is None:
            check_instances(dataset, dataset.data_list)
    check_folders(dataset)
    check_label_maps(dataset)


class _Images(Dataset):
    """What is wrong with each image of a dataset.

    Images and annotations are loaded, but not augmented.
    """

    def __init__(self, dataset: BaseDataset) -> None:
        self.dataset = dataset
        transforms = [
            transform
            for transform in dataset.pipeline.transforms
            if type(transform).__name__.startswith('Load')
        ]
        self.load = CheckedPipeline(dataset, transforms)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Optional[str]:
        try:
            self.load(self.dataset.get_data_info(index))
        except Exception as error:
            return f'{type(error).__name__}: {error}'
        return None


def check_images(dataset: BaseDataset, num_workers: int = 0) -> List[str]:
    """Checks all images and label maps of a dataset, with a progress bar.

    Args:
        dataset (BaseDataset): The dataset.
        num_workers (int): Number of processes that load them. Defaults to 0,
            this process alone.

    Returns:
        list[str]: What is wrong. Each names its file.
    """
    loader = DataLoader(
        _Images(dataset), batch_size=None, num_workers=num_workers
    )
    progress = ProgressBar(len(dataset), file=sys.stderr)
    errors = []
    for error in loader:
        if error is not None:
            errors.append(error)
        progress.update()
    sys.stderr.write('\n')
    return errors


def check_same_classes(dataset: Dataset, learned: Dataset) -> None:
    """Checks that a dataset has the classes of that of training.

    Args:
        dataset (Dataset): The dataset to validate on.
        learned (Dataset): The dataset of training.

    Raises:
        ValueError: If a label stands for another class. The error names both.
    """
    for other in iter_leaves(learned):
        classes = getattr(other, 'metainfo', {}).get('classes')
        if classes is None:
            continue
        folders = getattr(other, 'folder_to_idx', None)
        by_folder = folders is not None and list(folders) == list(classes)
        for leaf in iter_leaves(dataset):
            compare_classes(leaf, classes, get_source(other), by_folder)
        return


def check_annotations(dataset: BaseDataset, file: CocoFile) -> None:
    """Checks what a dataset of boxes makes of its annotation file."""
    chosen = file.select(dataset.cat_ids)
    kept = chosen.copy()
    counts = {'of other categories': int((~chosen).sum())}
    for reason, skipped in file.find_skipped().items():
        counts[reason] = int((skipped & chosen).sum())
        kept &= ~skipped
    counts['crowds'] = int((file.crowds & kept).sum())
    if loads_masks(dataset):
        file.check_masks(kept)
    if file.repeated_files:
        print_log(
            f'{file.path}: {file.repeated_files} images have the file_name '
            'of another one',
            logger='current',
            level=logging.WARNING,
        )
    skipped = list_counts(counts)
    if dataset.test_mode:
        return
    if not chosen.any():
        print_log(
            f'{file.path}: no annotation is of the classes',
            logger='current',
            level=logging.WARNING,
        )
    elif not (kept & ~file.crowds).any():
        raise ValueError(
            f'{file.path}: none of its {len(chosen)} annotations can be '
            f'learned: {skipped}'
        )
    images = list_counts(count_skipped_images(dataset, file, chosen))
    if skipped or images:
        print_log(
            f'{file.path}: by design, training skips '
            + ' and '.join(
                f'{text} (of {count} {kind})'
                for text, count, kind in (
                    (skipped, len(chosen), 'annotations'),
                    (images, len(file.image_ids), 'images'),
                )
                if text
            ),
            logger='current',
        )


def count_skipped_images(
    dataset: BaseDataset, file: CocoFile, chosen: np.ndarray
) -> Dict[str, int]:
    """Counts the images that mmdet leaves out, by reason."""
    filters = dataset.filter_cfg or {}
    empty = np.ones(len(file.image_ids), dtype=bool)
    empty[file.image_rows[chosen]] = False
    if not filters.get('filter_empty_gt', False):
        empty[:] = False
    min_size = filters.get('min_size', 0)
    small = (file.sizes < min_size).any(1) & ~empty
    return {
        'without objects': int(empty.sum()),
        f'smaller than {min_size} pixels': int(small.sum()),
    }


def list_counts(counts: Dict[str, int]) -> str:
    """Lists what there is of each kind."""
    return ', '.join(f'{n} {kind}' for kind, n in counts.items() if n)


def loads_masks(dataset: BaseDataset) -> bool:
    """Whether a dataset's pipeline loads the masks of objects."""
    transforms = dataset.pipeline.transforms
    return any(getattr(step, 'with_mask', False) for step in transforms)


def check_evaluator(evaluator: Evaluator, dataset: Dataset) -> None:
    """Checks the annotation files that metrics have read.

    pycocotools fails on some only when all images have been processed.

    Args:
        evaluator (Evaluator): The evaluator.
        dataset (Dataset): What it evaluates on.

    Raises:
        ValueError: If the metric could not be calculated, or would be wrong.
            The error names the file.
    """
    leaves = [
        leaf for leaf in iter_leaves(dataset) if isinstance(leaf, BaseDataset)
    ]
    pairs: Iterable[tuple] = itertools.product(evaluator.metrics, leaves)
    if hasattr(evaluator, 'dataset_prefixes'):
        # mmdet's of several datasets has a metric for each of them.
        pairs = zip(evaluator.metrics, leaves)
    for metric, leaf in pairs:
        coco = getattr(metric, '_coco_api', None)
        file = getattr(coco, 'checked_file', None)
        if file is not None and not getattr(metric, 'format_only', False):
            check_ground_truth(file, leaf, getattr(metric, 'metrics', []))


def check_ground_truth(
    file: CocoFile, dataset: BaseDataset, metrics: List[str]
) -> None:
    """Checks that a file can be evaluated against."""
    classes = dataset.metainfo.get('classes')
    if classes is None:
        return
    names = set(classes)
    cat_ids = [
        cat_id
        for cat_id, name in zip(file.category_ids, file.category_names)
        if name in names
    ]
    compare_categories(list(classes), cat_ids, file)
    chosen = file.select(cat_ids)
    has_extent = (file.boxes[:, 2:] >= 1).all(1)
    if not (chosen & ~file.crowds & ~file.ignored & has_extent).any():
        raise ValueError(
            f'{file.path}: it has no object of the classes to be evaluated '
            f'against, of a pixel or more, among {len(file.ids)} annotations'
        )
    if file.crowd_is_missing is not None:
        row = file.crowd_is_missing
        raise ValueError(
            f'{file.path}: annotation {file.ids[row]!r}: iscrowd is missing, '
            'which pycocotools needs; expected 0 or 1'
        )
    if not all(isinstance(value, (int, float)) for value in file.ids):
        wrong = next(i for i in file.ids if not isinstance(i, (int, float)))
        if not wrong.isdigit():
            raise ValueError(
                f'{file.path}: annotation {wrong!r}: id is no number, which '
                'pycocotools needs to evaluate'
            )
    if 0 in file.ids:
        print_log(
            f'{file.path}: annotation 0: pycocotools takes what is matched to '
            'an annotation of id 0 for not matched; number them from 1 on',
            logger='current',
            level=logging.WARNING,
        )
    if 'segm' in metrics:
        file.check_masks(chosen)
    if not osp.exists(dataset.ann_file) or osp.samefile(
        dataset.ann_file, file.path
    ):
        return
    known = set(file.image_ids)
    for i in range(len(dataset)):
        image_id = dataset.get_data_info(i).get('img_id')
        if image_id not in known:
            raise ValueError(
                f'{file.path}: the metric has no image of id {image_id!r}, '
                f'but {dataset.ann_file} has'
            )
