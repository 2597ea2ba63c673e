# Copyright (c) mmactive contributors. All rights reserved.
from contextlib import ExitStack, contextmanager
from typing import Any, Iterator

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmactive.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Trains with the backbone in bfloat16 autocast, on a CPU.

    It is there for trying mixed precision without an accelerator, where
    mmengine's ``AmpOptimWrapper`` refuses to run. There is no loss scaling:
    bfloat16 has the range of float32. Necks and heads stay in float32, since
    mmcv's operators (NMS, RoIAlign) know no bfloat16 on a CPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Makes forward passes inside run the backbone in autocast.

        Raises:
            ValueError: If the model has no module named ``backbone``.
        """
        # A tracker has one in its detector, a distilled model in its teacher.
        backbones = [
            module
            for name, module in model.named_modules()
            if name.split('.')[-1] == 'backbone'
        ]
        if not backbones:
            raise ValueError(
                'mixed precision on a CPU is that of the backbone, but '
                f'{type(model).__name__} has no module of this name'
            )
        with ExitStack() as stack:
            for backbone in backbones:
                stack.enter_context(_autocast(backbone))
            stack.enter_context(super().optim_context(model))
            yield


@contextmanager
def _autocast(module: nn.Module) -> Iterator[None]:
    """Makes a module compute in bfloat16 and return float32."""
    forward = module.forward

    def forward_in_autocast(*args, **kwargs) -> Any:
        with torch.autocast('cpu', torch.bfloat16):
            return _to_float32(forward(*args, **kwargs))

    module.forward = forward_in_autocast
    try:
        yield
    finally:
        del module.forward


def _to_float32(value: Any) -> Any:
    """Converts the bfloat16 tensors of a backbone's outputs."""
    if isinstance(value, (tuple, list)):
        return type(value)(_to_float32(item) for item in value)
    if isinstance(value, Tensor) and value.dtype == torch.bfloat16:
        return value.float()
    return value
