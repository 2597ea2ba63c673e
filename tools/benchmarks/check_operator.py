# Copyright (c) mmactive contributors. All rights reserved.
"""Compares the operator's kernels with the PyTorch reference in float64.

The test suite does this and more, but needs pytest, hypothesis, torchvision
and OpenMMLab's packages. This is for machines that have PyTorch alone.

    python tools/benchmarks/check_operator.py --device cuda
"""

import argparse
import itertools
import traceback
from typing import List, Tuple

import torch
from benchmark_utils import require_kernel
from torch import Tensor

from mmactive.ops import axial_deform_gather_reference
from mmactive.ops.axial_deform_gather import _backward_reference

OPS = torch.ops.mmactive
# Of the tokens and of the offsets, which may be wider.
DTYPES = [
    *((dtype, dtype) for dtype in (torch.float32, torch.float64)),
    *itertools.product(
        (torch.bfloat16, torch.float16), (torch.float32, torch.float64)
    ),
    (torch.bfloat16, torch.bfloat16),
    (torch.float16, torch.float16),
]


def make(
    shape: Tuple[int, ...],
    groups: int,
    dtypes: Tuple[torch.dtype, torch.dtype],
    spread: float = 12,
) -> List[Tensor]:
    """Makes an input, offsets and a gradient of the output on the CPU.

    Offsets are multiples of 1/64. So all positions are exact in float32, and
    no rounding moves one across a token, where its gradient jumps.
    """
    input, grad = (torch.randn(shape).to(dtypes[0]) for _ in range(2))
    offset = spread * (2 * torch.rand(*shape[:3], groups) - 1)
    return [input, offset.mul(64).round().div(64).to(dtypes[1]), grad]


def run(tensors: List[Tensor], dim: int) -> Tuple[Tensor, ...]:
    """Returns the output and both gradients."""
    input, offset, grad = tensors
    output = OPS.axial_deform_gather(input, offset, dim)
    return output, *OPS.axial_deform_gather_backward(grad, input, offset, dim)


def compare(tensors: List[Tensor], dim: int) -> None:
    """Compares output and gradients: one rounding to their dtype is allowed.

    To it come errors of sums in float32, or float64, over the channels that
    share an offset and over the tokens that are sampled several times.
    """
    input, offset, grad = (t.detach().cpu().double() for t in tensors)
    expected = (
        axial_deform_gather_reference(input, offset, dim),
        *_backward_reference(grad, input, offset, dim),
    )
    shared = input.size(3) // offset.size(3)
    is_double = tensors[0].dtype == torch.float64
    eps = torch.finfo(torch.float64 if is_double else torch.float32).eps
    names = ('output', 'grad_input', 'grad_offset')
    for name, a, e in zip(names, run(tensors, dim), expected):
        torch.testing.assert_close(
            a.cpu().double(),
            e,
            rtol=torch.finfo(a.dtype).eps / 2 + 4 * eps,
            atol=64 * eps * max(8, shared),
            equal_nan=True,
            msg=lambda text, name=name: (
                f'{name} of {tuple(input.shape)}, {shared} shared channels, '
                f'{tensors[0].dtype}, {tensors[1].dtype}, dim {dim}: {text}'
            ),
        )


def check_group_sizes(device: str) -> None:
    """Vectors of every length, one or several for an offset."""
    for shared, dtypes, dim in itertools.product(
        (*range(1, 17), 24, 64), DTYPES, (1, 2)
    ):
        for size in ((2, 7, 9), (1, 37, 40)):
            tensors = make((*size, 5 * shared), 5, dtypes)
            compare([tensor.to(device) for tensor in tensors], dim)


def check_memory_layouts(device: str) -> None:
    """Packed offsets, transposed tokens, memory that starts anywhere."""

    def misalign(tensor, start):
        buffer = tensor.new_empty(start + tensor.numel())
        return buffer[start:].view(tensor.shape).copy_(tensor)

    for dtypes, dim in itertools.product(DTYPES, (1, 2)):
        input, offset, grad = (
            tensor.to(device) for tensor in make((2, 9, 12, 64), 16, dtypes)
        )
        packed = torch.cat((offset, offset), dim=3)
        for half in packed.chunk(2, dim=3):
            compare([input, half, grad], dim)
        channels_first = input.permute(0, 3, 1, 2).contiguous()
        transposed = grad.transpose(1, 2).contiguous().transpose(1, 2)
        compare([channels_first.permute(0, 2, 3, 1), offset, transposed], dim)
        compare([input, offset, grad[:1, :1, :1].expand_as(grad)], dim)
        for start in (1, 2, 4):
            moved = [misalign(t, start) for t in (input, offset, grad)]
            compare(moved, dim)


def check_long_axes(device: str) -> None:
    """Lines that fit into fast memory of every kind, and into none."""
    for length, dtypes, dim in itertools.product(
        (300, 1000, 4000, 15000), DTYPES[:3], (1, 2)
    ):
        for channels, groups in ((6, 3), (16, 2), (5, 5)):
            shape = [1, 2, 2, channels]
            shape[dim] = length
            tensors = make(tuple(shape), groups, dtypes, spread=length / 4)
            compare([tensor.to(device) for tensor in tensors], dim)


def check_special_offsets(device: str) -> None:
    """Borders of the axis and far beyond, infinities, NaN."""
    length = 6
    values = [float('nan'), float('inf'), -float('inf'), 1e30, -1e30]
    values += [x / 4 for x in range(-8 * length, 8 * length)]
    for dtypes, dim in itertools.product(DTYPES, (1, 2)):
        for shared in (1, 2, 3, 8, 16):
            shape = (len(values), length, length, 2 * shared)
            input, offset, grad = make(shape, 2, dtypes)
            offset[:] = torch.tensor(values, dtype=dtypes[1]).view(-1, 1, 1, 1)
            tensors = [t.to(device) for t in (input, offset, grad)]
            compare(tensors, dim)


def check_determinism(device: str) -> None:
    """The same bits in every run, though many tokens add to the same ones."""
    for dtypes, dim, size in itertools.product(
        DTYPES[:3], (1, 2), ((8, 56, 56, 64), (1, 3, 15000, 8))
    ):
        tensors = make(size, size[3] // 4, dtypes, spread=1)
        # Everything is sampled at the first tokens.
        index = torch.arange(size[dim]).view(-1, *[1] * (3 - dim))
        tensors[1] -= index.to(dtypes[1])
        tensors = [tensor.to(device) for tensor in tensors]
        first = run(tensors, dim)
        for _ in range(5):
            for a, e in zip(run(tensors, dim), first):
                torch.testing.assert_close(a, e, rtol=0, atol=0)


def check_graph_capture(device: str) -> None:
    """A CUDA graph computes the same on new contents of its tensors."""
    if device != 'cuda':
        return
    for dtypes, dim in itertools.product(DTYPES, (1, 2)):
        tensors = [t.cuda() for t in make((2, 400, 40, 32), 8, dtypes)]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            run(tensors, dim)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = run(tensors, dim)
        for target, source in zip(
            tensors, make((2, 400, 40, 32), 8, dtypes, spread=30)
        ):
            target.copy_(source)
        graph.replay()
        for a, e in zip(captured, run(tensors, dim)):
            torch.testing.assert_close(a, e, rtol=0, atol=0)


CHECKS = (
    check_group_sizes,
    check_memory_layouts,
    check_long_axes,
    check_special_offsets,
    check_determinism,
    check_graph_capture,
)


def main() -> None:
    """Runs all checks; the exit status tells whether they passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    device = parser.parse_args().device
    require_kernel(device)
    num_failed = 0
    for check in CHECKS:
        torch.manual_seed(0)
        print(f'{check.__name__}: ', end='', flush=True)
        try:
            check(device)
        except Exception:  # of any kind: the other checks tell more
            num_failed += 1
            print(f'FAILED\n{traceback.format_exc()}')
        else:
            print('passed')
    if num_failed:
        raise SystemExit(f'{num_failed} of {len(CHECKS)} checks failed')


if __name__ == '__main__':
    main()
