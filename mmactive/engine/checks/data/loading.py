# Copyright (c) mmactive contributors. All rights reserved.
"""Checks while a dataset is being loaded.

What the libraries read is checked where they have it in their hands, so that
no file is read twice.
"""

import contextlib
import gc
import json
import traceback
from typing import Any, Dict, Iterator, Optional

from mmengine.dataset import BaseDataset

from .classes import check_categories, get_source
from .coco import CocoFile
from .folders import check_labels, find_bad_line
from .instances import check_instances

try:
    from pycocotools.coco import COCO
except ImportError:  # Classification needs none.
    COCO = None

# What comes up when the content of an annotation file is not as expected
CONTENT_ERRORS = (
    *(AssertionError, AttributeError, IndexError),
    *(KeyError, TypeError, ValueError),
)
ARCHIVES = {
    b'\x1f\x8b': 'packed by gzip',
    b'PK': 'packed by zip',
    b'BZ': 'packed by bzip2',
    b'\xfd7': 'packed by xz',
}


@contextlib.contextmanager
def checked_loading() -> Iterator[Dict[str, CocoFile]]:
    """Checks the annotation files that are loaded within this context.

    Yields:
        dict[str, CocoFile]: The files that pycocotools reads, by their names.

    Raises:
        ValueError: If a file is not as it should be. The error names it.
    """
    files: Dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        # Collecting garbage takes longer than all the checks: it goes through
        # the millions of objects that a large file consists of again and
        # again, and there is none.
        if gc.isenabled():
            gc.disable()
            stack.callback(gc.enable)
        if COCO is not None:
            _replace(stack, COCO, '__init__', _make_init(COCO.__init__, files))
        serialize = BaseDataset._serialize_data

        def check_and_serialize(dataset: BaseDataset) -> tuple:
            # The list of records is emptied here.
            check_labels(dataset, dataset.data_list)
            if dataset.ann_file not in files:
                check_instances(dataset, dataset.data_list)
            return serialize(dataset)

        _replace(stack, BaseDataset, '_serialize_data', check_and_serialize)
        try:
            yield files
        except CONTENT_ERRORS as error:
            dataset = find_loading_dataset(error)
            if dataset is None:
                raise
            _explain(error, dataset, files)


def _replace(
    stack: contextlib.ExitStack, owner: type, name: str, value: object
) -> None:
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _make_init(init, files: Dict[str, CocoFile]):
    """Makes pycocotools' reader check what it has read."""

    def checked_init(coco, annotation_file: Optional[str] = None) -> None:
        try:
            init(coco, annotation_file)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(
                f'{annotation_file}: {_describe(annotation_file, error)}'
            ) from error
        except CONTENT_ERRORS as error:
            if isinstance(coco.dataset, dict) and coco.dataset:
                _check(coco, annotation_file)
            raise ValueError(
                f'{annotation_file}: expected an object of images, '
                'annotations and categories; pycocotools says '
                f'{type(error).__name__}: {error}'
            ) from error
        if annotation_file is not None:
            file = _check(coco, annotation_file)
            if file is not None:
                files[annotation_file] = coco.checked_file = file

    return checked_init


def _check(coco, path: str) -> Optional[CocoFile]:
    """Checks what is a file of boxes; captions and segments are none."""
    annotations = coco.dataset.get('annotations')
    if isinstance(annotations, list) and annotations:
        first = annotations[0]
        if isinstance(first, dict) and (
            'segments_info' in first or 'caption' in first
        ):
            return None
    return CocoFile(coco.dataset, path)


def _describe(path: str, error: ValueError) -> str:
    with open(path, 'rb') as file:
        head = file.read(2)
        size = file.seek(0, 2)
    if size == 0:
        return 'the file is empty'
    if head in ARCHIVES:
        return f'the file is {ARCHIVES[head]}, expected JSON'
    # What is missing is noticed at the end, or where the last string begins.
    if isinstance(error, json.JSONDecodeError) and (
        error.pos >= len(error.doc.rstrip()) or 'Unterminated' in error.msg
    ):
        return f'the file is cut off: {error}'
    return f'the file is no JSON: {type(error).__name__}: {error}'


def find_loading_dataset(error: Exception) -> Optional[BaseDataset]:
    """Returns the dataset that an error came up in when it read its data.

    None if it came up elsewhere, such as at a transform of unknown name.
    """
    dataset = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get('self')
        loading = frame.f_code.co_name == 'full_init'
        if loading and isinstance(owner, BaseDataset):
            dataset = owner
    return dataset


def _explain(
    error: Exception, dataset: BaseDataset, files: Dict[str, CocoFile]
) -> None:
    """Raises an error that says what one of loading a dataset means."""
    source = get_source(dataset)
    if str(error).startswith(f'{source}: '):
        raise error
    if source in files:
        check_categories(dataset, files[source])
    reason = f'{type(error).__name__}: {error}'
    if 'need at least one array' in str(error):
        # mmengine joins the records of all images.
        reason = 'the dataset has no image that it could use'
        suffix = getattr(dataset, 'img_suffix', None)
        if suffix is not None:  # mmseg's
            reason += f'; it looks for files named *{suffix}'
        else:
            reason += (
                '; training leaves out images without objects of its classes, '
                'and those smaller than filter_cfg says'
            )
    else:
        reason = find_bad_line(dataset) or reason
    raise ValueError(f'{source}: {reason}') from error
