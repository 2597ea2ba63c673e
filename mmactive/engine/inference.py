# Copyright (c) mmactive contributors. All rights reserved.
"""Predictions of classifiers, detectors and segmentors for images alike.

The libraries' inferencers differ in their arguments, results and pictures.
"""

import difflib
import os.path as osp
import warnings
from pickle import UnpicklingError
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DATASETS, DefaultScope
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer
from torch import nn

from mmactive.utils.dependencies import is_installed
from mmactive.utils.model_index import FOLDERS, load_models

from .checks.heads import iter_heads
from .options import TASKS, check_checkpoint, find_scope, iter_datasets
from .pictures import enlarge

ERRORS = (
    AssertionError,
    ImportError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
)
"""What a wrong model, checkpoint, device or input comes up as."""

VISUALIZERS = dict(
    mmpretrain='UniversalVisualizer',
    mmdet='DetLocalVisualizer',
    mmseg='SegLocalVisualizer',
)


class Predictor:
    """Predicts what is in an image and draws it, by a library's inferencer.

    Args:
        model (str): Path of a config, or a name of the model zoo.
        weights (str, optional): Checkpoint file or URL. Defaults to the model
            zoo's. Without any, the network is untrained.
        device (str, optional): As PyTorch names it. Defaults to the best one
            that is there.
        palette (str, optional): Colours of classes: 'random', for detectors a
            palette that mmdet knows, for segmentors a dataset that mmseg
            knows. Defaults to those of the config, then of the checkpoint.

    Attributes:
        task (str): 'classification', 'detection' or 'segmentation'.
        model (nn.Module): The network.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ValueError: If there is no such model or palette, if the config is of
            another task, or if the weights do not fit.
    """

    def __init__(
        self,
        model: str,
        weights: Optional[str] = None,
        device: Optional[str] = None,
        palette: Optional[str] = None,
    ) -> None:
        cfg, published = find_config(model)
        weights = weights or published
        if weights is None:
            warnings.warn(
                f'{model}: there are no weights, so the network is untrained',
                stacklevel=2,
            )
        else:
            check_checkpoint('weights', weights)
        self._scope = find_scope(cfg)
        if self._scope not in TASKS:
            raise ValueError(
                f'{model}: default_scope must be one of {list(TASKS)}, but '
                f'got {self._scope!r}'
            )
        if 'dataset' not in (cfg.get('test_dataloader') or {}):
            raise ValueError(
                f'{model}: test_dataloader.dataset is required, of which the '
                'pipeline is used'
            )
        self.task = TASKS[self._scope]
        cfg.setdefault('visualizer', dict(type=VISUALIZERS[self._scope]))
        with DefaultScope.overwrite_default_scope(self._scope):
            with warnings.catch_warnings():
                # Of other classes that are taken, which happens below
                warnings.simplefilter('ignore')
                self._inferencer = _build(
                    self._scope, cfg, weights, device or get_device()
                )
            self._meta = self._find_meta(cfg, palette)
            self._visualizer = self._make_visualizer()

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self._inferencer.model

    def name(self, label: int) -> str:
        """Returns the name of a class."""
        classes = self._meta['classes']
        return str(classes[label] if label < len(classes) else label)

    def predict(self, image: np.ndarray) -> BaseDataElement:
        """Runs the network.

        Args:
            image (np.ndarray): BGR of shape (H, W, 3), uint8.

        Returns:
            BaseDataElement: The library's data sample, on the CPU.
        """
        with DefaultScope.overwrite_default_scope(self._scope):
            (data,) = self._inferencer.preprocess([image], batch_size=1)
            if self.task == 'detection':
                _, data = data  # the images and what was made of them
            with torch.no_grad():
                (sample,) = self._inferencer.forward(data)
        return sample.cpu()

    def draw(
        self,
        image: np.ndarray,
        sample: BaseDataElement,
        min_score: float = 0.3,
        scale: int = 1,
    ) -> np.ndarray:
        """Draws a prediction.

        Args:
            image (np.ndarray): BGR of shape (H, W, 3), uint8.
            sample (BaseDataElement): What was predicted of it.
            min_score (float): Least score of the detections that are drawn.
                Defaults to 0.3.
            scale (int): How many times to enlarge the image, so that there is
                space for words. Defaults to 1.

        Returns:
            np.ndarray: RGB of shape (scale * H, scale * W, 3), uint8.
        """
        image = image[..., ::-1]
        draw = self._visualizer
        if self.task == 'classification':
            draw.visualize_cls(
                image, sample, draw_gt=False, rescale_factor=scale
            )
        else:
            options: Dict[str, Any] = {}
            if self.task == 'detection':
                options.update(pred_score_thr=min_score)
            if scale != 1:
                image, sample = enlarge(image, sample, scale)
            draw.add_datasample('', image, sample, draw_gt=False, **options)
        return draw.get_image()

    def show(self, picture: np.ndarray, name: str, wait_time: float) -> None:
        """Shows a picture in a window.

        Args:
            picture (np.ndarray): RGB of shape (H, W, 3), uint8.
            name (str): Title of the window.
            wait_time (float): Seconds until it closes; 0 leaves that to the
                user.
        """
        self._visualizer.show(picture, win_name=name, wait_time=wait_time)

    def describe(self, sample: BaseDataElement) -> Dict[str, Any]:
        """Says a prediction in numbers and text, as JSON takes them.

        Args:
            sample (BaseDataElement): What was predicted of an image.

        Returns:
            dict: Keys of a classifier: ``pred_label``, ``pred_class``,
            ``pred_score`` and ``pred_scores``, those of all classes. Of a
            detector: ``labels``, ``classes``, ``scores``, ``bboxes`` as x1,
            y1, x2, y2 in pixels and, if it predicts them, ``masks`` in COCO's
            run-length encoding. Of a segmentor: ``classes``, by name the share
            of the pixels.
        """
        if self.task == 'classification':
            scores = sample.pred_score.tolist()
            label = int(sample.pred_score.argmax())
            return dict(
                pred_label=label,
                pred_class=self.name(label),
                pred_score=scores[label],
                pred_scores=scores,
            )
        if self.task == 'detection':
            found = self._inferencer.pred2dict(sample)
            return dict(found, classes=[self.name(i) for i in found['labels']])
        labels = self.get_label_map(sample)
        counts = zip(*np.unique(labels, return_counts=True))
        return dict(
            classes={self.name(i): int(n) / labels.size for i, n in counts}
        )

    def get_label_map(self, sample: BaseDataElement) -> np.ndarray:
        """Returns the class of each pixel that a segmentor has predicted.

        Args:
            sample (SegDataSample): What was predicted of an image.

        Returns:
            np.ndarray: Labels of shape (H, W), uint8; uint16 if there are more
            than 256 classes.
        """
        is_small = len(self._meta['classes']) <= 256
        dtype = np.uint8 if is_small else np.uint16
        return sample.pred_sem_seg.data[0].numpy().astype(dtype)

    def _find_meta(self, cfg: Config, palette: Optional[str]) -> dict:
        """Finds names and colours of the classes."""
        dataset = next(iter_datasets(cfg.test_dataloader.dataset))
        kind = dataset['type']
        if isinstance(kind, str):
            with DATASETS.switch_scope_and_registry(None) as registry:
                kind = registry.get(kind)
        known = (
            dataset.get('metainfo'),
            getattr(kind, 'METAINFO', None),
            getattr(self.model, 'dataset_meta', None),
            getattr(self.model, '_dataset_meta', None),  # mmpretrain's
        )
        meta: dict = next((m for m in known if m and m.get('classes')), {})
        classes = meta.get('classes', ())
        if isinstance(classes, str):
            classes = (classes,)
        colors = meta.get('palette') or []
        if self.task != 'classification' or palette is not None:
            heads = [head.num_classes for _, head in iter_heads(self.model)]
            number = max([len(classes), *heads])
            if palette is not None or len(colors) < number:
                colors = self._make_palette(palette or 'random', number)
            classes = [*classes, *map(str, range(len(classes), number))]
        return dict(classes=classes, palette=list(map(tuple, colors)))

    def _make_visualizer(self) -> Visualizer:
        """Makes what draws, with names and colours of the classes."""
        if self.task == 'classification':
            from mmpretrain.visualization import UniversalVisualizer

            visualizer = UniversalVisualizer()
        else:
            visualizer = self._inferencer.visualizer
        visualizer.dataset_meta = self._meta
        return visualizer

    def _make_palette(self, name: str, num_classes: int) -> List[tuple]:
        """Makes colours of classes, RGB from 0 to 255.

        Raises:
            ValueError: If the library knows no such palette, or one of fewer
                colours.
        """
        if self.task == 'classification':
            raise ValueError('palette: a classifier colours nothing')
        if name == 'random':
            state = np.random.RandomState(42)
            return [tuple(c) for c in state.randint(0, 256, (num_classes, 3))]
        try:
            if self.task == 'detection':
                from mmdet.visualization import get_palette

                colors = get_palette(name, num_classes)
            else:
                from mmseg.utils import get_palette

                colors = get_palette(name)
        except (AssertionError, ValueError) as error:
            raise ValueError(f'palette: {name!r}: {error}') from None
        if len(colors) < num_classes:
            raise ValueError(
                f'palette: {name!r} has {len(colors)} colours for '
                f'{num_classes} classes'
            )
        return colors


def find_config(model: str) -> Tuple[Config, Optional[str]]:
    """Finds a config and, in the model zoo, its weights.

    Args:
        model (str): Path of a config, or a name of the model zoo, which is
            that of a config without its ending.

    Returns:
        tuple: The config, and file or URL of the weights or None.

    Raises:
        FileNotFoundError: If there is neither.
    """
    if osp.isfile(model):
        return Config.fromfile(model), None
    names = []
    for scope in filter(is_installed, FOLDERS):
        for item in load_models(scope):
            if item['Name'].lower() == model.lower():
                return Config.fromfile(item['Config']), item['Weights']
            names.append(item['Name'])
    close = difflib.get_close_matches(model, names, 1)
    hint = f'; is it {close[0]!r}?' if close else ''
    raise FileNotFoundError(
        f'model: there is no config file and no model {model!r}{hint}'
    )


def _build(
    scope: str, cfg: Config, weights: Optional[str], device: str
) -> Any:
    """Builds the inferencer of a library."""
    if scope == 'mmpretrain':
        from mmpretrain import ImageClassificationInferencer

        return ImageClassificationInferencer(
            cfg, pretrained=weights or False, device=device
        )
    if scope == 'mmdet':
        from mmdet.apis import DetInferencer

        return DetInferencer(cfg, weights, device=device)
    from mmseg.apis import MMSegInferencer

    return MMSegInferencer(cfg, weights, device=device)
