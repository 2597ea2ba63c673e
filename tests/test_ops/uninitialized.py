# Copyright (c) mmactive contributors. All rights reserved.
"""Makes visible what a kernel forgets to write."""

import ctypes
from contextlib import contextmanager

import pytest
import torch

M_PERTURB = -6  # of glibc's mallopt


@contextmanager
def nan_in_new_memory():
    """Fills new memory of the CPU with NaN, beyond some hundred bytes.

    ``torch.use_deterministic_algorithms`` fills the tensors that PyTorch's
    operators create, but not those of its stable ABI.
    """
    mallopt = ctypes.CDLL(None).mallopt
    # The inverse of the lowest byte, unless the number is 0.
    mallopt(M_PERTURB, 0x100)
    try:
        if not torch.empty(2, 9, 21, 5).isnan().all():
            pytest.skip("needs glibc's allocator")
        yield
    finally:
        mallopt(M_PERTURB, 0)
