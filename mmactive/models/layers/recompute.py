# Copyright (c) mmactive contributors. All rights reserved.
from typing import Any, Callable

import torch.utils.checkpoint as cp
from torch import Tensor

# Of fewer elements the bookkeeping takes longer than their memory is worth.
MIN_SIZE = 2**18


def recompute(function: Callable, *inputs: Tensor) -> Any:
    """Calls a function now, and in the backward pass again.

    Between the two only the inputs are kept, not what the function computes on
    the way to its last layer; the last layer itself is not computed again.

    Args:
        function (Callable): It draws no random numbers.
        inputs (tuple[Tensor]): Its arguments. If the first one is small, the
            function is called once and what it computes is kept.

    Returns:
        Any: What the function returns.
    """
    if inputs[0].numel() < MIN_SIZE:
        return function(*inputs)
    return cp.checkpoint(
        function, *inputs, use_reentrant=False, preserve_rng_state=False
    )
