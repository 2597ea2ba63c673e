# Copyright (c) mmactive contributors. All rights reserved.
"""Looks at the offsets that a model's Active Token Mixers use."""

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

import numpy as np
from matplotlib.figure import Figure
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmactive.models.backbones.activemlp import ActiveMLPBlock
from mmactive.registry import HOOKS

from .checks.heads import unwrap_model


@contextmanager
def record_offsets(model: nn.Module) -> Iterator[Dict[str, Tensor]]:
    """Records the offsets of the blocks that a model runs.

    Args:
        model (nn.Module): A model with blocks of ActiveMLP.

    Yields:
        dict[str, Tensor]: By the name of a block the offsets that its mixer
        used in the last forward pass, its own or those of an earlier block,
        of shape (N, H, W, 2G) in tokens: G horizontal, then G vertical ones.

    Raises:
        ValueError: If the model has no such block, or none with offsets.
    """
    blocks = {
        name: module
        for name, module in unwrap_model(model).named_modules()
        if isinstance(module, ActiveMLPBlock)
    }
    if not any(block.offset_layer is not None for block in blocks.values()):
        raise ValueError(
            f'{type(model).__name__} has no block of ActiveMLP that predicts '
            'offsets'
        )
    offsets = {}

    def record(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output: tuple) -> None:
            offsets[name] = output[1].detach()

        return hook

    handles = [
        block.register_forward_hook(record(name))
        for name, block in blocks.items()
    ]
    try:
        yield offsets
    finally:
        for handle in handles:
            handle.remove()


def get_centre(offset: Tensor, axis: str) -> Tensor:
    """Returns the offsets of the token in the centre.

    Args:
        offset (Tensor): Offsets (N, H, W, 2G).
        axis (str): 'horizontal' or 'vertical'.

    Returns:
        Tensor: Offsets (N, G) of one token of each image.
    """
    centre = offset[:, offset.size(1) // 2, offset.size(2) // 2]
    horizontal, vertical = centre.chunk(2, dim=-1)
    return dict(horizontal=horizontal, vertical=vertical)[axis]


def group_by_stage(offsets: Dict[str, Tensor]) -> Dict[str, Dict[str, Tensor]]:
    """Groups recorded offsets.

    Args:
        offsets (dict[str, Tensor]): By names that end as in
            'stages.0.blocks.1'.

    Returns:
        dict[str, dict[str, Tensor]]: Those of a stage by its number.
    """
    stages: Dict[str, Dict[str, Tensor]] = {}
    for name, offset in offsets.items():
        stages.setdefault(name.split('.')[-3], {})[name] = offset
    return stages


def to_picture(inputs: Tensor, preprocessor: nn.Module) -> np.ndarray:
    """Makes what a backbone sees visible.

    Args:
        inputs (Tensor): A normalized image (3, H, W).
        preprocessor (nn.Module): The model's, which tells its channels' order.

    Returns:
        np.ndarray: RGB of shape (H, W, 3), float from 0 to 1. Brightness and
        contrast are such that all but a hundredth of the values fit.
    """
    pixels = inputs.permute(1, 2, 0).float().cpu().numpy()
    low, high = np.percentile(pixels, (0.5, 99.5))
    if not getattr(preprocessor, '_channel_conversion', True):
        pixels = pixels[..., ::-1]
    return np.clip((pixels - low) / max(high - low, 1e-6), 0, 1)


def plot_positions(
    image: np.ndarray,
    offsets: Dict[str, Tensor],
    token: Sequence[float],
    columns: int = 4,
) -> Figure:
    """Plots where one token looks, a panel a block.

    Args:
        image (np.ndarray): What the backbone saw, RGB of shape (H, W, 3).
        offsets (dict[str, Tensor]): Offsets (1, H', W', 2G) of some blocks by
            their names.
        token (Sequence[float]): Where the token is, as fractions of width and
            height.
        columns (int): Most panels in a row. Defaults to 4.

    Returns:
        Figure: A point a group of channels and direction, at the position that
        is sampled, which may lie outside of the image.
    """
    columns = min(columns, len(offsets))
    rows = -(-len(offsets) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.4 * rows), layout='constrained')
    all_axes = figure.subplots(rows, columns, squeeze=False)
    for ax in all_axes.flat:
        ax.axis('off')
    for (name, offset), ax in zip(offsets.items(), all_axes.flat):
        height, width = offset.shape[1:3]
        x, y = int(token[0] * width), int(token[1] * height)
        horizontal, vertical = (
            part.float().cpu().numpy() for part in offset[0, y, x].chunk(2)
        )
        groups = np.arange(len(horizontal))
        scale = image.shape[1] / width
        centre = np.array([x + 0.5, y + 0.5]) * scale
        ax.imshow(image, extent=(0, image.shape[1], image.shape[0], 0))
        for values, axis in ((horizontal, 0), (vertical, 1)):
            places = np.tile(centre[:, None], len(groups))
            places[axis] += values * scale
            points = ax.scatter(
                *places, c=groups, cmap='turbo', s=9, linewidths=0
            )
        ax.plot(*centre, '*', color='white', mec='black', ms=10)
        ax.set_xlim(0, image.shape[1])
        ax.set_ylim(image.shape[0], 0)
        ax.set_title(f'block {name.split(".")[-1]}', fontsize=9)
    figure.colorbar(points, ax=all_axes, label='channel group', shrink=0.6)
    return figure


@HOOKS.register_module()
class OffsetStatisticsHook(Hook):
    """Logs how far the token mixers look during training.

    For each block that predicts offsets the mean and the largest distance in
    tokens go to the log, and from there to TensorBoard and other backends, as
    ``offset_mean/<block>`` and ``offset_max/<block>``.

    Args:
        interval (int): Iterations from one measurement to the next. Defaults
            to 50, as often as the libraries write to the log.

    Raises:
        ValueError: If ``interval`` is not positive, or if the model predicts
            no offsets.

    Example:
        >>> custom_hooks = [dict(type='mmactive.OffsetStatisticsHook')]
    """

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f'interval must be positive, but got {interval}')
        self.interval = interval
        self.recording: Any = None
        self.offsets: Dict[str, Tensor] = {}

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
    ) -> None:
        """Starts recording in the iterations that are measured."""
        if self.every_n_train_iters(runner, self.interval):
            self.recording = record_offsets(runner.model)
            self.offsets = self.recording.__enter__()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Logs what has been recorded."""
        if self.recording is None:
            return
        self.recording.__exit__(None, None, None)
        self.recording = None
        for name, offset in self.offsets.items():
            name = name.rpartition('backbone.')[2]
            distance = offset.abs()
            for kind in ('mean', 'max'):
                runner.message_hub.update_scalar(
                    f'train/offset_{kind}/{name}',
                    float(getattr(distance, kind)()),
                )
