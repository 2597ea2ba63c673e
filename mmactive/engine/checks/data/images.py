# Copyright (c) mmactive contributors. All rights reserved.
"""Checks of images when they are used, and errors that name them."""

import io
import os
import os.path as osp
from typing import Callable, List, Optional, Sequence

import numpy as np
from mmengine import fileio
from mmengine.dataset import BaseDataset, Compose
from PIL import Image

# The last bytes of complete images
FILE_ENDS = {
    '.jpg': b'\xff\xd9',
    '.jpeg': b'\xff\xd9',
    '.png': b'IEND\xaeB`\x82',
}
# Label maps of PNG may have fewer bits a pixel, which stand in the header.
PNG = b'\x89PNG\r\n\x1a\n'
GREY = 0


class CheckedPipeline(Compose):
    """A dataset's pipeline, with errors that name the file.

    Args:
        dataset (BaseDataset): The dataset. Its pipeline has been built.
        transforms (list, optional): What to do instead of the dataset's own
            transforms. Defaults to None.

    Attributes:
        ann_file (str): The dataset's annotation file.
        num_classes (int): Number of classes, 0 if unknown.
        ignore_index (int | None): Label of no class. Only mmseg's datasets
            have it, and only their labels are checked.
    """

    def __init__(
        self,
        dataset: BaseDataset,
        transforms: Optional[Sequence[Callable]] = None,
    ) -> None:
        super().__init__(
            dataset.pipeline.transforms if transforms is None else transforms
        )
        self.ann_file = dataset.ann_file
        self.ignore_index = getattr(dataset, 'ignore_index', None)
        self.num_classes = count_classes(dataset)

    def __call__(self, data: dict) -> Optional[dict]:
        """Processes an image.

        Args:
            data (dict): What the dataset knows of it.

        Returns:
            dict | None: The result, None if the dataset is to try another.

        Raises:
            RuntimeError: If that fails, or if an image file is cut off. The
                error names the files.
            ValueError: If the image is not of the size that its annotation
                file gives, if a label is no class, or if a label map is not
                one or not of its image's size.
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
        return result

    def _transform(self, data: dict, files: List[str]) -> Optional[dict]:
        size = data.get('height'), data.get('width')
        has_image = has_map = False
        for transform in self.transforms:
            if not has_map and keeps_bytes(transform):
                check_format(files[-1], transform.backend_args)
            data = transform(data)
            if data is None:
                return None
            if not has_image and isinstance(data.get('ori_shape'), tuple):
                has_image = True
                if None not in size and size != data['ori_shape'][:2]:
                    self._raise_size(files[0], size, data['ori_shape'])
            if not has_map and data.get('gt_seg_map') is not None:
                # Just loaded. Test pipelines have scaled the image before.
                has_map = True
                self._check_map(data, files[-1])
        return data

    def _raise_size(self, file: str, size: tuple, loaded: tuple) -> None:
        turned = ''
        if size == loaded[1::-1]:
            turned = (
                '; perhaps it is turned as its EXIF orientation says, and the '
                'annotations are not'
            )
        raise ValueError(
            '{}: the image has a height of {} and a width of {} pixels, but '
            '{} says height {} and width {}{}'.format(
                file, *loaded[:2], self.ann_file or 'its record', *size, turned
            )
        )

    def _check_map(self, data: dict, file: str) -> None:
        labels = data['gt_seg_map']
        if labels.ndim != 2:
            # mmseg makes a line of what is one pixel wide or high.
            raise ValueError(
                f'the label map has the shape {labels.shape} when it is '
                'loaded, expected a height and a width'
            )
        size = labels.shape
        image_size = data.get('ori_shape', size)
        if size != image_size:
            raise ValueError(
                '{}: the label map has {} x {} pixels, but its image '
                '{} x {}'.format(file, *size, *image_size)
            )
        if self.ignore_index is None or self.num_classes == 0:
            return
        ignored = labels == self.ignore_index
        wrong = labels[(labels >= self.num_classes) & ~ignored]
        if len(wrong) > 0:
            raise ValueError(
                f'{file}: the labels of {self.num_classes} classes are 0 to '
                f'{self.num_classes - 1}, and {self.ignore_index} for none, '
                f'but there is {int(wrong.max())}'
                + ' after reduce_zero_label'
                * bool(data.get('reduce_zero_label'))
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
    files: List[str] = []
    for key in ('img_path', 'seg_map_path'):
        value = data.get(key)
        files += value if isinstance(value, (list, tuple)) else [value]
    return [str(file) for file in files if file]


def check_format(path: str, backend_args: Optional[dict] = None) -> None:
    """Checks that reading a label map as mmseg does keeps its labels.

    mmseg takes them modulo 256, and Pillow stretches those of fewer than
    eight bits a pixel.

    Args:
        path (str): The file.
        backend_args (dict, optional): Where it is. Defaults to None.

    Raises:
        ValueError: If it has several channels, colours, numbers over 255 or
            broken ones, or two or four bits of grey. The error names it.
    """
    content = fileio.get(path, backend_args)
    with Image.open(io.BytesIO(content)) as image:
        mode = image.mode
        if mode in ('1', 'P'):
            return
        if mode == 'L':
            bits, kind = content[24:26] if content.startswith(PNG) else (8, 0)
            if bits < 8 and kind == GREY:
                raise ValueError(
                    f'{path}: the label map has {bits} bits a pixel, which '
                    'are stretched to 0 to 255 when they are read; save it '
                    'with 8'
                )
            return
        values = np.asarray(image)
    if values.ndim > 2:
        colours = values[..., : 1 if mode == 'LA' else 3]
        equal = (colours == colours[..., :1]).all()
        raise ValueError(
            f'{path}: the label map has {values.shape[2]} channels ({mode}), '
            'expected one of labels; '
            + (
                'those of its colours are equal: save one of them'
                if equal
                else 'colours have to be translated into labels'
            )
        )
    wrong = ~((values >= 0) & (values <= 255) & (values == np.rint(values)))
    if wrong.any():
        raise ValueError(
            f'{path}: the label map ({mode}) has the value '
            f'{values[wrong].max()}, but labels are whole numbers from 0 to '
            '255'
        )


def keeps_bytes(transform: Callable) -> bool:
    """Whether a transform loads label maps as mmseg does, a byte a pixel."""
    return getattr(transform, 'with_seg', False) and any(
        kind.__module__.startswith('mmseg.')
        for kind in type(transform).__mro__
    )


def count_classes(dataset: BaseDataset) -> int:
    """Returns the number of classes, 0 if it is not known."""
    return len(dataset.metainfo.get('classes') or ())
