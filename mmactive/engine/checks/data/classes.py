# Copyright (c) mmactive contributors. All rights reserved.
"""Checks that what a label stands for is the same everywhere."""

from typing import List, Sequence

from mmengine.dataset import BaseDataset

from .coco import CocoFile


def check_categories(dataset: BaseDataset, file: CocoFile) -> None:
    """Checks that an annotation file has the classes of its dataset.

    mmdet numbers the classes as the file lists the categories of these names:
    one that is missing, or in another place, gives the others wrong labels.

    Args:
        dataset (BaseDataset): The dataset. Without ``cat_ids``, the categories
            that it has selected from the file, there is nothing to check.
        file (CocoFile): Its annotation file.

    Raises:
        ValueError: If there is another number of categories than of classes,
            or if their order differs. The error names the file.
    """
    classes = dataset.metainfo.get('classes')
    cat_ids = getattr(dataset, 'cat_ids', None)
    if classes is None or cat_ids is None:
        return
    compare_categories(list(classes), list(cat_ids), file)


def compare_categories(
    classes: List[str], cat_ids: list, file: CocoFile
) -> None:
    """Checks that categories selected from a file are a dataset's classes."""
    names = dict(zip(file.category_ids, file.category_names))
    found = [names[cat_id] for cat_id in cat_ids]
    missing = [name for name in classes if name not in found]
    twice = [name for name in classes if found.count(name) > 1]
    if missing or twice:
        reason = f'it has {len(found)} categories for {len(classes)} classes'
        if missing:
            reason += f', and none that is named {shorten(missing)}'
        if twice:
            reason += f', and several that are named {shorten(twice)}'
    elif found != classes:
        reason = (
            'mmdet numbers classes in the order of its categories, '
            f'{shorten(found)}, but the dataset has classes={shorten(classes)}'
        )
    else:
        return
    raise ValueError(f'{file.path}: {reason}')


def compare_classes(
    dataset: BaseDataset,
    classes: Sequence[str],
    origin: str,
    by_folder: bool = False,
) -> None:
    """Checks that labels stand for the classes that a model learns.

    Datasets of folders number the classes in the order of their folders:
    where those of validation are others, all labels behind are wrong. Else
    names that only one side has may be other words for the same.

    Args:
        dataset (BaseDataset): The dataset to validate or test on.
        classes (Sequence[str]): The names of the classes that are learned.
        origin (str): Where these are from.
        by_folder (bool): Whether these are names of folders. Defaults to
            False.

    Raises:
        ValueError: If a label has another class. The error names both.
    """
    own = list(getattr(dataset, 'metainfo', {}).get('classes') or ())
    classes = list(classes)
    common = [name for name in own if name in classes]
    if own == classes or not own:
        return
    is_folder = own == list(getattr(dataset, 'folder_to_idx', ()))
    must_agree = is_folder and (by_folder or len(common) > 0)
    if not must_agree and all(
        own.index(name) == classes.index(name) for name in common
    ):
        return
    label = next(
        (i for i, (a, b) in enumerate(zip(own, classes)) if a != b),
        min(len(own), len(classes)),
    )
    raise ValueError(
        f'{get_source(dataset)}: label {label} is {name_at(own, label)}, but '
        f'{name_at(classes, label)} in {origin}; '
        + ('by the order of the folders, ' if is_folder else '')
        + f'the classes are {shorten(own)} here and {shorten(classes)} there'
    )


def get_source(dataset: BaseDataset) -> str:
    """Returns the annotation file or image folder of a dataset."""
    prefix = dataset.data_prefix
    folder = prefix.get('img_path') or prefix.get('img')
    return dataset.ann_file or folder or type(dataset).__name__


def name_at(names: List[str], index: int) -> str:
    """Returns the name of a class, or that there is none."""
    return repr(names[index]) if index < len(names) else 'no class'


def shorten(names: List[str]) -> str:
    """Joins names, the first ones of many."""
    return ', '.join(map(repr, names[:5])) + ' ...' * (len(names) > 5)
