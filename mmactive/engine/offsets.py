# Copyright (c) mmactive contributors. All rights reserved.
"""Looks at the offsets that a model's Active Token Mixers use."""

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Optional

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmactive.models.backbones.activemlp import ActiveMLPBlock
from mmactive.registry import HOOKS

from .checks.heads import unwrap


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
        for name, module in unwrap(model).named_modules()
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
