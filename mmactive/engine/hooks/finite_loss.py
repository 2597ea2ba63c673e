# Copyright (c) mmactive contributors. All rights reserved.
from contextlib import ExitStack
from typing import Any, Iterator, List, Optional, Tuple

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmactive.registry import HOOKS

from ..random_state import get_random_state, set_random_state


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Ends training at a loss that is not finite, and says where it began.

    The loss is looked at before the backward pass: the weights are still those
    that led to it. This waits once an iteration for the GPU's forward pass.
    ``default_hooks=dict(finite_loss=None)`` goes on with such losses.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._batch: Any = None
        self._state: Optional[dict] = None

    def before_train(self, runner: Runner) -> None:
        """Puts a check before the backward pass."""
        wrapper = runner.optim_wrapper
        update_params = getattr(wrapper, 'update_params', None)
        if update_params is None:
            return

        def update_if_finite(loss: Tensor, *args, **kwargs) -> None:
            if not bool(loss.detach().isfinite().all()):
                self._explain(runner, loss)
            update_params(loss, *args, **kwargs)

        wrapper.update_params = update_if_finite

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Keeps what is needed to go through the iteration again."""
        self._batch = data_batch
        self._state = get_random_state()

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Lets the batch go."""
        self._batch = None

    def _explain(self, runner: Runner, loss: Tensor) -> None:
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        set_random_state(self._state)
        with torch.no_grad(), runner.optim_wrapper.optim_context(model):
            reason = _find_module(model, self._batch)
        raise FloatingPointError(
            f'the loss of iteration {runner.iter + 1} is '
            f'{float(loss.detach().sum())}: {reason}{_find_weights(model)}'
            f'{_list_files(self._batch)}. '
            'default_hooks.finite_loss=None goes on all the same'
        )


def _find_weights(model: nn.Module) -> str:
    """Names the first weights that are not finite before the iteration."""
    # The iteration itself has been through the statistics of batches.
    for name, value in model.named_parameters():
        if not _is_finite(value):
            return f'; the weights {name!r} are infinite or NaN already'
    return ''


def _find_module(model: nn.Module, batch: Any) -> str:
    """Goes through an iteration again; names what is not finite first."""
    found: List[str] = []

    def report(name: str) -> Any:
        def check(module: nn.Module, inputs: tuple, output: Any) -> None:
            if not all(map(_is_finite, iter_tensors(output))):
                found.append(f'{name!r} ({type(module).__name__})')

        return check

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name:
                handle = module.register_forward_hook(report(name))
                stack.callback(handle.remove)
            if isinstance(module, nn.SyncBatchNorm):
                # The other processes do not go through it again.
                stack.callback(module.train, module.training)
                module.eval()
        data = model.data_preprocessor(batch, True)
        if isinstance(data, dict):
            losses = model(**data, mode='loss')
        else:
            losses = model(*data, mode='loss')
    if found:
        return f'the first module whose output is not finite is {found[0]}'
    names = [
        name
        for name, value in losses.items()
        if not all(map(_is_finite, iter_tensors(value)))
    ]
    return (
        f'the outputs of all modules are finite, but not {", ".join(names)}'
        if names
        else 'it was finite when the same batch was computed again'
    )


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(value.isfinite().all())


def iter_tensors(value: Any) -> Iterator[Tensor]:
    """Yields the tensors in a module's output."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from iter_tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from iter_tensors(item)


def _list_files(batch: Any) -> str:
    """Names the images of a batch, those that have a name."""
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    names: Tuple = tuple(
        str(sample.get('img_path'))
        for sample in samples or ()
        if hasattr(sample, 'get') and sample.get('img_path')
    )
    if not names:
        return ''
    more = ' ...' if len(names) > 4 else ''
    return f'; its images are {", ".join(names[:4])}{more}'
