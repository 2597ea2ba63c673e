# Copyright (c) mmactive contributors. All rights reserved.
"""What the operators share."""

from typing import Callable, Sequence, Tuple

import torch
from torch import Tensor


def promote(*tensors: Tensor) -> Tuple[Tensor, ...]:
    """Returns tensors of one dtype that every kernel knows.

    torchvision has few kernels for float16 and bfloat16, and takes tensors of
    equal dtype only.

    Returns:
        tuple[Tensor]: As float64 if one is, as float32 otherwise.
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype) for tensor in tensors)


def fill_gradients(
    gradients: Sequence[Tensor],
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    grad_output: Tensor,
) -> None:
    """Fills the gradients of a function by computing it again.

    Args:
        gradients (Sequence[Tensor]): Of the inputs, to be filled.
        function (Callable): Maps the inputs to an output.
        inputs (Sequence[Tensor]): As they were in the forward pass.
        grad_output (Tensor): The gradient of the output.
    """
    with torch.enable_grad():
        inputs = [input.detach().requires_grad_() for input in inputs]
        output = function(*inputs)
    results = torch.autograd.grad(output, inputs, grad_output.to(output.dtype))
    for gradient, result in zip(gradients, results):
        gradient.copy_(result)
