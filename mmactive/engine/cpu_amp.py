# Copyright (c) mmactive contributors. All rights reserved.
from contextlib import contextmanager
from typing import Iterator, Tuple

import torch
from mmengine.model import is_model_wrapper
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
        """Makes forward passes inside run the backbone in autocast."""
        module = model.module if is_model_wrapper(model) else model
        backbone = module.backbone
        forward = backbone.forward

        def forward_in_autocast(*args, **kwargs) -> Tuple[Tensor, ...]:
            with torch.autocast('cpu', torch.bfloat16):
                outputs = forward(*args, **kwargs)
            return tuple(output.float() for output in outputs)

        backbone.forward = forward_in_autocast
        try:
            with super().optim_context(model):
                yield
        finally:
            del backbone.forward
