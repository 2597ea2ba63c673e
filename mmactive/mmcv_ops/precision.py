# Copyright (c) mmactive contributors. All rights reserved.
"""The precision that operators compute in."""

from typing import Tuple

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
