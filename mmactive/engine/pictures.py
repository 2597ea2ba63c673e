# Copyright (c) mmactive contributors. All rights reserved.
"""Pictures of predictions that say which side is the truth.

mmdet's and mmseg's visualizers put the truth and the prediction side by side
without a word, and mmpretrain's writes both over the image. After
:func:`caption` they write on a strip above the picture, which stays as wide.
"""

from functools import cache
from types import new_class
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import mmcv
import numpy as np
import torch
from matplotlib import font_manager
from mmengine.dist import master_only
from mmengine.structures import BaseDataElement, InstanceData
from mmengine.visualization import Visualizer
from PIL import Image, ImageDraw, ImageFont

TRUTH = 'ground truth'
PREDICTION = 'prediction'

NEUTRAL = (40, 40, 40)
RIGHT = (0, 110, 0)
WRONG = (180, 0, 0)

MIN_SIZE = 224
"""Shorter side in pixels to which images are enlarged below class names."""


class Caption(NamedTuple):
    """What stands above a picture.

    Attributes:
        text (str): The words.
        color (tuple[int]): RGB of the strip below them.
    """

    text: str
    color: Tuple[int, int, int] = NEUTRAL


def add_captions(
    picture: np.ndarray, captions: Sequence[Caption]
) -> np.ndarray:
    """Writes captions on a strip above a picture.

    Args:
        picture (np.ndarray): RGB of shape (H, W, 3), uint8.
        captions (Sequence[Caption]): One for each of the parts of equal width
            that the picture consists of.

    Returns:
        np.ndarray: RGB of shape (height of the strip + H, W, 3), uint8.
    """
    width = picture.shape[1] // len(captions)
    size = min(max(width // 25, 13), 40)
    file = font_manager.findfont('DejaVu Sans')
    words = [word for caption in captions for word in caption.text.split()]
    while True:
        font = ImageFont.truetype(file, size)
        widest = max(map(font.getlength, words))
        if widest <= width - size or size == 8:
            break
        size -= 1  # until no word is wider than its part
    texts = [_wrap(caption.text, font, width - size) for caption in captions]
    lines = 1 + max(text.count('\n') for text in texts)
    height = lines * sum(font.getmetrics()) + size // 2
    strip = Image.new('RGB', (picture.shape[1], height))
    draw = ImageDraw.Draw(strip)
    for i, (caption, text) in enumerate(zip(captions, texts)):
        left = i * width
        right = (i + 1) * width if i + 1 < len(captions) else strip.width
        draw.rectangle((left, 0, right - 1, height), caption.color)
        draw.multiline_text(
            ((left + right) / 2, size / 4),
            text,
            'white',
            font,
            anchor='ma',
            align='center',
            spacing=size // 5,
        )
    return np.concatenate([np.asarray(strip), picture])


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Breaks lines before they get wider than ``width`` pixels."""
    lines = []
    for line in text.splitlines():
        lines.append('')
        for word in line.split():
            longer = f'{lines[-1]} {word}'.strip()
            if lines[-1] and font.getlength(longer) > width:
                lines.append(word)
            else:
                lines[-1] = longer
    return '\n'.join(lines)


def describe_classes(
    data_sample: BaseDataElement,
    classes: Optional[Sequence[str]] = None,
    draw_gt: bool = True,
    draw_pred: bool = True,
    draw_score: bool = True,
) -> Optional[Caption]:
    """Names the true and the predicted classes of an image.

    Args:
        data_sample (DataSample): mmpretrain's, with labels.
        classes (Sequence[str], optional): Names. Defaults to the labels.
        draw_gt (bool): Whether to name the true ones. Defaults to True.
        draw_pred (bool): Whether to name the predicted ones. Defaults to True.
        draw_score (bool): Whether to add scores. Defaults to True.

    Returns:
        Caption | None: A line for each side that is wanted and known, in green
        or red if both are. None if there is neither.
    """
    lines, sides = [], []
    score = data_sample.get('pred_score') if draw_score else None
    for wanted, key, title in (
        (draw_gt, 'gt_label', TRUTH),
        (draw_pred, 'pred_label', PREDICTION),
    ):
        if not wanted or key not in data_sample:
            continue
        labels = data_sample.get(key).tolist()
        names = []
        for label in labels:
            name = str(label if classes is None else classes[label])
            if title == PREDICTION and score is not None:
                name += f' ({float(score[label]):.0%})'
            names.append(name)
        lines.append(f'{title}: {", ".join(names) or "none"}')
        sides.append(set(labels))
    if not lines:
        return None
    if len(sides) == 1:
        return Caption(lines[0])
    is_right = sides[0] == sides[1]
    lines[1] += ', right' if is_right else ', wrong'
    return Caption('\n'.join(lines), RIGHT if is_right else WRONG)


def enlarge(
    image: np.ndarray, sample: BaseDataElement, factor: int
) -> Tuple[np.ndarray, BaseDataElement]:
    """Scales an image and what a data sample of mmdet or mmseg says of it.

    What the libraries draw is made for images of some hundred pixels.

    Args:
        image (np.ndarray): Of shape (H, W, 3), uint8.
        sample (BaseDataElement): Annotations and predictions in the pixels of
            the original image.
        factor (int): How many times to repeat each pixel in both directions.

    Returns:
        tuple: The scaled image, uint8, and a data sample with scaled copies.
    """

    def repeat(pixels: torch.Tensor) -> torch.Tensor:
        for dim in (-2, -1):
            pixels = pixels.repeat_interleave(factor, dim=dim)
        return pixels

    scaled = type(sample)()
    for key in ('gt_instances', 'pred_instances'):
        if key in sample:
            instances = sample.get(key)
            scaled.set_data({key: InstanceData()})
            for name, value in instances.items():
                if name == 'bboxes':
                    value = value * factor
                elif name == 'masks':
                    if not isinstance(value, torch.Tensor):
                        value = value.to_tensor(torch.bool, 'cpu')
                    value = repeat(value)
                scaled.get(key).set_data({name: value})
    for key in ('gt_sem_seg', 'pred_sem_seg'):
        if key in sample:
            pixels = sample.get(key)
            data = repeat(pixels.data)
            scaled.set_data({key: type(pixels)(data=data)})
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return mmcv.imresize(image, size, interpolation='bicubic'), scaled


class _Captioned(Visualizer):
    """A visualizer that writes captions above what it draws."""

    def __init__(
        self, name: str = 'visualizer', *args: Any, **kwargs: Any
    ) -> None:
        # mmengine wants every class to have an argument of this name.
        super().__init__(name, *args, **kwargs)

    def _draw(self, method: Callable, *args: Any, **kwargs: Any) -> np.ndarray:
        """Returns what a method of the library's would have saved."""
        pictures: List[np.ndarray] = []
        # Hides the visualizer's own while the library draws.
        self.add_image = lambda name, image, step=0: pictures.append(image)
        try:
            method(*args, **kwargs)
        finally:
            del self.add_image
        return pictures[0]

    def _save(
        self,
        picture: np.ndarray,
        name: str,
        show: bool,
        wait_time: float,
        out_file: Optional[str],
        step: int,
    ) -> None:
        """Puts a picture where the library's would go."""
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(picture[..., ::-1], out_file)
        else:
            self.add_image(name, picture, step)


class _CaptionedPair(_Captioned):
    """mmdet's or mmseg's visualizer with captions."""

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Optional[BaseDataElement] = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: Optional[str] = None,
        step: int = 0,
        **kwargs: Any,
    ) -> None:
        """Draws the truth and, to its right, the prediction.

        Args:
            name (str): Name of the image.
            image (np.ndarray): RGB of shape (H, W, 3), uint8.
            data_sample (BaseDataElement, optional): What to draw on it.
            draw_gt (bool): Whether to draw the truth. Defaults to True.
            draw_pred (bool): Whether to draw the prediction. Defaults to True.
            show (bool): Whether to show a window. Defaults to False.
            wait_time (float): Seconds until it closes. Defaults to 0, which
                leaves that to the user.
            out_file (str, optional): File to write. Defaults to None, which
                leaves the picture to the backends.
            step (int): The step under which they save it. Defaults to 0.
            kwargs (dict): The library's other arguments.
        """
        keys = data_sample.keys() if data_sample is not None else ()
        # mmdet puts the bare image where it knows no truth.
        draw_gt = draw_gt and any(key.startswith('gt_') for key in keys)
        draw_pred = draw_pred and any(key.startswith('pred_') for key in keys)
        captions = [TRUTH] * draw_gt + [PREDICTION] * draw_pred
        picture = image
        if captions:
            picture = self._draw(
                super().add_datasample,
                name,
                image,
                data_sample,
                draw_gt=draw_gt,
                draw_pred=draw_pred,
                **kwargs,
            )
            picture = add_captions(picture, [Caption(c) for c in captions])
        self._save(picture, name, show, wait_time, out_file, step)


class _CaptionedClass(_Captioned):
    """mmpretrain's visualizer with captions."""

    @master_only
    def visualize_cls(
        self,
        image: np.ndarray,
        data_sample: BaseDataElement,
        classes: Optional[Sequence[str]] = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        draw_score: bool = True,
        resize: Optional[int] = None,
        rescale_factor: Optional[float] = None,
        text_cfg: Optional[dict] = None,
        show: bool = False,
        wait_time: float = 0,
        out_file: Optional[str] = None,
        name: str = '',
        step: int = 0,
    ) -> np.ndarray:
        """Draws an image below its true and its predicted class.

        Args:
            image (np.ndarray): RGB of shape (H, W, 3), uint8.
            data_sample (DataSample): The classes.
            classes (Sequence[str], optional): Their names. Defaults to the
                dataset's.
            draw_gt (bool): Whether to name the true one. Defaults to True.
            draw_pred (bool): Whether to name the predicted one. Defaults to
                True.
            draw_score (bool): Whether to add its score. Defaults to True.
            resize (int, optional): Shorter side in pixels to resize the image
                to. Defaults to None.
            rescale_factor (float, optional): How many times to enlarge it.
                Defaults to None: as often as words need it.
            text_cfg (dict, optional): Has no meaning here. Defaults to None.
            show (bool): Whether to show a window. Defaults to False.
            wait_time (float): Seconds until it closes. Defaults to 0, which
                leaves that to the user.
            out_file (str, optional): File to write. Defaults to None, which
                leaves the picture to the backends.
            name (str): Name of the image. Defaults to ''.
            step (int): The step under which they save it. Defaults to 0.

        Returns:
            np.ndarray: The picture, RGB, uint8.
        """
        if resize is None and rescale_factor is None:
            rescale_factor = max(1, -(-MIN_SIZE // min(image.shape[:2])))
        picture = self._draw(
            super().visualize_cls,
            image,
            data_sample,
            draw_gt=False,
            draw_pred=False,
            resize=resize,
            rescale_factor=rescale_factor,
        )
        classes = classes or (self.dataset_meta or {}).get('classes')
        caption = describe_classes(
            data_sample, classes, draw_gt, draw_pred, draw_score
        )
        if caption is not None:
            picture = add_captions(picture, [caption])
        self._save(picture, name, show, wait_time, out_file, step)
        return picture


# By the library's class, which its own subclasses have as well
_MIXINS = dict(
    DetLocalVisualizer=_CaptionedPair,
    SegLocalVisualizer=_CaptionedPair,
    UniversalVisualizer=_CaptionedClass,
)


@cache
def _derive(cls: type) -> type:
    """Derives the class with captions of a visualizer's class."""
    for base in cls.__mro__:
        mixin = _MIXINS.get(base.__name__)
        if mixin is not None and not issubclass(cls, _Captioned):
            return new_class(cls.__name__, (mixin, cls))
    return cls


def caption(visualizer: Visualizer) -> Visualizer:
    """Makes a visualizer of one of the libraries write captions.

    Args:
        visualizer (Visualizer): Any; others than those of the three tasks stay
            as they are.

    Returns:
        Visualizer: The same object.
    """
    kind: Any = type(visualizer)
    visualizer.__class__ = _derive(kind)
    return visualizer
