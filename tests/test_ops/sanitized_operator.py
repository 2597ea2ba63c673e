# Copyright (c) mmactive contributors. All rights reserved.
"""Reaches every kind of CUDA kernel with small tensors, for memory checkers.

``python sanitized_operator.py`` uses the GPU, ``python sanitized_operator.py
LIBRARY`` the emulation that was built as that library.
"""

import sys

import torch


def run(ops, device):
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        for dim in (1, 2):
            # Vectors of each length, split groups, columns that end inside a
            # block; longer lines; ones that take more shared memory than
            # blocks have by default; ones that fit into none.
            for length, others, all_channels in (
                (11, 9, (5, 10, 20, 40, 15, 80)),
                (300, 3, (8, 40)),
                (4000, 1, (20,)),
                (15000, 1, (5,)),
            ):
                for channels in all_channels:
                    size = (length, others) if dim == 1 else (others, length)
                    groups = 5 if channels % 5 == 0 else 1
                    options = {'device': device, 'dtype': dtype}
                    input = torch.randn(2, *size, channels, **options)
                    offset = 9 * torch.randn(2, *size, 2 * groups, **options)
                    offset[0, 0, 0] = float('nan')
                    offset[0, -1, -1] = float('inf')
                    offset = offset[..., groups:]  # read in place
                    output = ops.axial_deform_gather(input, offset, dim)
                    ops.axial_deform_gather_backward(
                        output, input, offset, dim
                    )


if __name__ == '__main__':
    torch.manual_seed(0)
    if len(sys.argv) > 1:
        torch.ops.load_library(sys.argv[1])
        for processors in (132, 1):
            torch.ops.mmactive_emulation.set_gpu(processors, 227 * 1024, 2)
            run(torch.ops.mmactive_emulation, 'cpu')
    else:
        import mmactive.ops  # noqa: F401

        if not torch._C._dispatch_has_kernel_for_dispatch_key(
            'mmactive::axial_deform_gather', 'CUDA'
        ):
            raise SystemExit('mmactive was built without CUDA kernels.')
        run(torch.ops.mmactive, 'cuda')
        torch.cuda.synchronize()
    print('Every kernel ran.')
