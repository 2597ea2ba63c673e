# Copyright (c) mmactive contributors. All rights reserved.
from pathlib import Path
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor


def _is_faster_by_convolution() -> bool:
    """Tells whether oneDNN computes with AVX-512, and MKL does not.

    MKL uses these instructions on Intel's processors only. There it is as fast
    on large inputs and faster on small ones.
    """
    if torch.backends.cpu.get_cpu_capability() != 'AVX512':
        return False
    cpuinfo = Path('/proc/cpuinfo')
    if not cpuinfo.is_file():
        return False
    # The maker is in its second line; the text of all cores takes a while.
    with cpuinfo.open() as file:
        return 'AuthenticAMD' in file.read(256)


IS_FASTER_BY_CONVOLUTION = _is_faster_by_convolution()


def linear(x: Tensor, weight: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """``F.linear``, twice as fast on AMD's processors with AVX-512.

    PyTorch multiplies float32 matrices by MKL, which does without these
    instructions there. A convolution goes to oneDNN, which does not, and
    tokens (N, H, W, C) are the input of a 1x1 convolution as they lie in
    memory. Everywhere else it is ``F.linear``.

    Args:
        x (Tensor): Shape (..., in_features).
        weight (Tensor): Shape (out_features, in_features).
        bias (Tensor, optional): Shape (out_features, ). Defaults to None.

    Returns:
        Tensor: Shape (..., out_features).
    """
    if (
        not IS_FASTER_BY_CONVOLUTION
        or x.dim() != 4
        or x.device.type != 'cpu'
        or x.dtype != torch.float32
        or torch.is_autocast_enabled('cpu')
        # Elsewhere it is a linear layer that is known.
        or torch.onnx.is_in_onnx_export()
    ):
        return F.linear(x, weight, bias)
    x = F.conv2d(x.permute(0, 3, 1, 2), weight[:, :, None, None], bias)
    return x.permute(0, 2, 3, 1)
