# Copyright (c) mmactive contributors. All rights reserved.
"""Grad-CAM of pytorch_grad_cam (``pip install grad-cam``) on the backbones.

It is adapted as soon as it is imported.
"""

import inspect
from functools import wraps
from typing import Any, Callable, Iterator

from pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from pytorch_grad_cam.base_cam import BaseCAM
from torch import Tensor, nn

from .backbones.pyramid import Pyramid
from .layers.tokens import is_of_images


def adapt() -> None:
    """Lets mmpretrain's and mmseg's tools use it, and refuse tokens."""
    for cls in _iter_subclasses(BaseCAM):
        if '__init__' in vars(cls):
            cls.__init__ = _ignore_use_cuda(cls.__init__)
    ActivationsAndGradients.save_activation = _refuse_tokens(
        ActivationsAndGradients.save_activation
    )


def _iter_subclasses(cls: Any) -> Iterator[Any]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from _iter_subclasses(subclass)


def _ignore_use_cuda(init: Callable) -> Callable:
    """Adds an argument of before 1.5, that the libraries' tools still give.

    Since then the model's device is the one to compute on.
    """
    if 'use_cuda' in inspect.signature(init).parameters:
        return init

    @wraps(init)
    def init_on_device(*args, use_cuda: bool = False, **kwargs) -> None:
        init(*args, **kwargs)

    return init_on_device


def _refuse_tokens(save: Callable) -> Callable:
    """Adds a check of the layer's output to what keeps it.

    Tokens (N, H, W, C) taken for maps (N, C, H, W) make a wrong picture.
    """

    @wraps(save)
    def check_and_save(
        self, module: nn.Module, input: tuple, output: Tensor
    ) -> None:
        save(self, module, input, output)
        is_map = self.activations[-1].shape == output.shape
        if output.dim() != 4 or not is_map or is_of_images(module):
            return
        backbones = [
            (f'{name}.' if name else '', part)
            for name, part in self.model.named_modules()
            if isinstance(part, Pyramid)
        ]
        for prefix, backbone in backbones:
            names = {part: name for name, part in backbone.named_modules()}
            if module in names:
                raise ValueError(
                    f'{prefix}{names[module]} returns tokens (N, H, W, C), of '
                    f'shape {tuple(output.shape)}, but Grad-CAM takes maps '
                    f'(N, C, H, W): take the output, {prefix}norm'
                    f'{backbone.out_indices[-1]}, or give reshape_transform'
                )

    return check_and_save


adapt()
