# Copyright (c) mmactive contributors. All rights reserved.
"""Checks of data sets, and errors that name the file at fault."""

import os
import os.path as osp
import traceback
from typing import Iterator, List, Optional, Union

import numpy as np
from mmengine import fileio
from mmengine.dataset import BaseDataset, Compose
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

# The last bytes of complete images
FILE_ENDS = {
    '.jpg': b'\xff\xd9',
    '.jpeg': b'\xff\xd9',
    '.png': b'IEND\xaeB`\x82',
}


class CheckedPipeline(Compose):
    """A dataset's pipeline, with errors that name the file.

    Args:
        dataset (BaseDataset): The dataset. Its pipeline has been built.

    Attributes:
        num_classes (int): Number of classes, 0 if unknown.
        ignore_index (int | None): Label of no class. Only mmseg's datasets
            have it, and only their labels are checked.
    """

    def __init__(self, dataset: BaseDataset) -> None:
        super().__init__(dataset.pipeline.transforms)
        self.ignore_index = getattr(dataset, 'ignore_index', None)
        self.num_classes = len(dataset.metainfo.get('classes') or ())

    def __call__(self, data: dict) -> Optional[dict]:
        """Processes an image.

        Args:
            data (dict): What the dataset knows of it.

        Returns:
            dict | None: The result, None if the dataset is to try another.

        Raises:
            RuntimeError: If that fails, or if an image file is cut off. The
                error names the files.
            ValueError: If a label is no class, or a label map is not of its
                image's size.
        """
        files = list_files(data)
        try:
            result = self._transform(data, files)
            for file in files:
                check_completeness(file)
        except Exception as error:
            # Images that are no files have nothing to be named by.
            if not files or any(file in str(error) for file in files):
                raise
            name = ', '.join(files)
            if isinstance(data.get('ori_shape'), tuple):
                # The transform that loads it has added its size.
                name += ' of {} x {} pixels'.format(*data['ori_shape'])
            raise RuntimeError(
                f'{name}: {type(error).__name__}: {error}'
            ) from error
        if result is not None and self.ignore_index is not None:
            labels = get_labels(result)
            if labels is not None and self.num_classes > 0:
                self._check_labels(labels, files)
        return result

    def _transform(self, data: dict, files: List[str]) -> Optional[dict]:
        has_map = False
        for transform in self.transforms:
            data = transform(data)
            if data is None:
                return None
            if not has_map and data.get('gt_seg_map') is not None:
                # Just loaded. Test pipelines have scaled the image before.
                has_map = True
                size = data['gt_seg_map'].shape[:2]
                image_size = data.get('ori_shape', size)
                if size != image_size:
                    raise ValueError(
                        '{}: the label map has {} x {} pixels, but its image '
                        '{} x {}'.format(files[-1], *size, *image_size)
                    )
        return data

    def _check_labels(
        self, labels: Union[Tensor, np.ndarray], files: List[str]
    ) -> None:
        ignored = labels == self.ignore_index
        wrong = labels[(labels >= self.num_classes) & ~ignored]
        if len(wrong) > 0:
            raise ValueError(
                f'{files[-1]}: the labels of {self.num_classes} classes are 0 '
                f'to {self.num_classes - 1}, and {self.ignore_index} for '
                f'none, but there is {int(wrong.max())}'
            )


def check_completeness(path: str) -> None:
    """Checks that an image file is not cut off.

    OpenCV 4 fills what is missing of an image with grey and goes on.

    Args:
        path (str): A file. What is none, or no JPEG or PNG, is not checked.

    Raises:
        OSError: If the image ends early.
    """
    end = FILE_ENDS.get(osp.splitext(path)[1].lower())
    if end is None or not osp.isfile(path):
        return
    with open(path, 'rb') as file:
        file.seek(-min(len(end), osp.getsize(path)), os.SEEK_END)
        if file.read() == end:
            return
    # There may be something behind the image. Decoding it is slow, but tells.
    with Image.open(path) as image:
        image.load()


def list_files(data: dict) -> List[str]:
    """Lists an image's files, or those of all frames of a video."""
    files = []
    for key in ('img_path', 'seg_map_path'):
        value = data.get(key)
        files += value if isinstance(value, (list, tuple)) else [value]
    return [str(file) for file in files if file]


def get_labels(result: dict) -> Union[Tensor, np.ndarray, None]:
    """Returns the label map of a pipeline's result, None without one.

    A dataset whose images are mixed leaves packing them to its wrapper.
    """
    if 'data_samples' in result:
        sample = result['data_samples']
        return sample.gt_sem_seg.data if 'gt_sem_seg' in sample else None
    return result.get('gt_seg_map')


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


def get_source(dataset: BaseDataset) -> str:
    """Returns the annotation file or image folder of a dataset."""
    prefix = dataset.data_prefix
    folder = prefix.get('img_path') or prefix.get('img')
    return dataset.ann_file or folder or type(dataset).__name__


def explain(error: Exception, dataset: BaseDataset) -> str:
    """Says what an error of building a dataset means."""
    if 'need at least one array' in str(error):
        # mmengine joins the records of all images.
        reason = 'the dataset has no image that it could use'
        suffix = getattr(dataset, 'img_suffix', None)
        if suffix is not None:  # mmseg's
            return f'{reason}; it looks for files named *{suffix}'
        return (
            f'{reason}; training leaves out images without objects of its '
            'classes'
        )
    return f'{type(error).__name__}: {error}'


def iter_leaves(dataset: Dataset) -> Iterator[Dataset]:
    """Yields the datasets that load images, without the wrappers of them."""
    if hasattr(dataset, 'dataset'):
        yield from iter_leaves(dataset.dataset)
    elif hasattr(dataset, 'datasets'):
        for child in dataset.datasets:
            yield from iter_leaves(child)
    else:
        yield dataset


def check_categories(dataset: BaseDataset) -> None:
    """Checks that an annotation file has the classes of its dataset.

    mmdet numbers the classes as the file lists the categories of these names:
    one that is missing, or in another place, gives the others wrong labels.

    Args:
        dataset (BaseDataset): The dataset. Without ``cat_ids``, the categories
            that it has selected from the file, there is nothing to check.

    Raises:
        ValueError: If there is another number of categories than of classes,
            or if their order differs. The error names the file.
    """
    classes = dataset.metainfo.get('classes')
    cat_ids = getattr(dataset, 'cat_ids', None)
    if classes is None or cat_ids is None:
        return
    classes = list(classes)
    own = list((dataset.METAINFO or {}).get('classes') or ())
    if classes == own and len(cat_ids) == len(classes):
        return  # Large files, of known order, are not read again.
    content = fileio.load(
        dataset.ann_file,
        file_format='json',
        backend_args=getattr(dataset, 'backend_args', None),
    )
    names = {item['id']: item['name'] for item in content['categories']}
    found = [names[cat_id] for cat_id in cat_ids]
    missing = [name for name in classes if name not in found]
    if len(found) != len(classes):
        reason = f'it has {len(found)} categories for {len(classes)} classes'
        if missing:
            reason += f', and none that is named {shorten(missing)}'
    elif found != classes and not missing:
        reason = (
            'mmdet numbers classes in the order of its categories, '
            f'{shorten(found)}, but the dataset has classes={shorten(classes)}'
        )
    else:
        return
    raise ValueError(f'{dataset.ann_file}: {reason}')


def shorten(names: List[str]) -> str:
    """Joins names, the first ones of many."""
    return ', '.join(map(repr, names[:5])) + ' ...' * (len(names) > 5)
