# Copyright (c) mmactive contributors. All rights reserved.
"""What is particular to the CPU kernels: vectors, tiles and threads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compiler import compile_library
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_axial_deform_gather import KERNEL_ERRORS
from torch.profiler import ProfilerActivity, profile
from uninitialized import nan_in_new_memory

from mmactive.ops import axial_deform_gather, axial_deform_gather_reference
from mmactive.ops.axial_deform_gather import _backward_reference

OP = torch.ops.mmactive.axial_deform_gather
BACKWARD_OP = torch.ops.mmactive.axial_deform_gather_backward

pytestmark = pytest.mark.skipif(
    not torch._C._dispatch_has_kernel_for_dispatch_key(
        'mmactive::axial_deform_gather', 'CPU'
    ),
    reason='the extension was not built',
)


def make(shape, groups, dtype=torch.float32, std=3.0, seed=0):
    """Random input, offset and gradient of the output."""
    generator = torch.Generator().manual_seed(seed)
    input = torch.randn(shape, generator=generator)
    offset = torch.randn((*shape[:3], groups), generator=generator) * std
    grad = torch.randn(shape, generator=generator)
    return input.to(dtype), offset.to(dtype), grad.to(dtype)


def check(shape, groups, dim, dtype=torch.float32, std=3.0):
    """Compares the kernels with the reference in float64."""
    input, offset, grad = make(shape, groups, dtype, std)
    # Positions as the kernels have them: those of float32 are rounded.
    index = torch.arange(shape[dim])
    index = index.view(-1, 1, 1) if dim == 1 else index.view(-1, 1)
    opmath = torch.promote_types(dtype, torch.float32)
    exact = (index + offset.to(opmath)).double() - index
    expected = (
        axial_deform_gather_reference(input.double(), exact, dim),
        *_backward_reference(grad.double(), input.double(), exact, dim),
    )
    actual = (
        OP(input, offset, dim),
        *BACKWARD_OP(grad, input, offset, dim),
    )
    tolerance = dict(rtol=max(1e-5, torch.finfo(dtype).eps / 2), atol=1e-4)
    for a, e in zip(actual, expected):
        torch.testing.assert_close(a.double(), e, **tolerance)


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('group_size', [*range(1, 18), 32, 61])
def test_group_sizes(group_size, dim):
    """Numbers of groups around those that the kernels take at a time."""
    for groups in (1, 3, 4, 7, 8, 9, 63, 64, 65, 133):
        check((2, 5, 6, groups * group_size), groups, dim)


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype, dim):
    for groups, group_size in ((33, 2), (10, 4), (5, 8), (3, 5)):
        check((2, 9, 7, groups * group_size), groups, dim, dtype)


# Whole rows of lines, single lines, and parts of the channels of a line.
@pytest.mark.parametrize(
    'shape',
    [
        (1, 7, 211, 48, 24),
        (2, 211, 7, 48, 24),
        (1, 300, 3, 512, 64),
        (1, 3, 300, 512, 64),
        (1, 4099, 2, 36, 18),
        (1, 2, 4099, 36, 9),
        (1, 4099, 1, 160, 1),
        (1, 70_001, 1, 6, 3),
    ],
    ids=str,
)
def test_tiles(shape):
    *shape, groups = shape
    for dim in (1, 2):
        check(shape, groups, dim, std=20)


@given(
    batch=st.integers(1, 2),
    size=st.permutations(
        [st.integers(1, 6), st.integers(1, 40) | st.integers(100, 500)]
    ).flatmap(lambda sides: st.tuples(*sides)),
    groups=st.integers(1, 12) | st.integers(60, 70),
    group_size=st.sampled_from([2, 4, 8]) | st.integers(1, 17),
    dim=st.sampled_from([1, 2]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    std=st.sampled_from([0.0, 0.7, 5.0, 1e4]),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_shape(batch, size, groups, group_size, dim, dtype, std):
    """Vectors of any kind in whole lines and in parts of lines."""
    check((batch, *size, groups * group_size), groups, dim, dtype, std)


@pytest.fixture(scope='module')
def tiling(tmp_path_factory):
    """The index arithmetic as operators."""
    source = Path(__file__).with_name('tiling.cpp')
    torch.ops.load_library(
        compile_library(source, tmp_path_factory.mktemp('tiling'))
    )
    return torch.ops.mmactive_tiling


# The size of a tensor that would not fit into memory, of groups and shared
# channels, and of what lies between the offsets of two tokens.
HUGE = st.tuples(
    st.integers(1, 2**12),
    st.integers(1, 2**16),
    st.integers(1, 2**16),
    st.integers(1, 2**6),
    st.integers(1, 2**6),
    st.integers(0, 2**6),
)


def make_huge(shape):
    """N, H, W, C, G and the distance between the offsets of two tokens."""
    n, h, w, groups, shared, gap = shape
    return [n, h, w, groups * shared, groups, groups + gap]


@given(
    shape=HUGE,
    dim=st.sampled_from([1, 2, -2, -3]),
    element_size=st.sampled_from([4, 8]),
    data=st.data(),
)
@example((2**12, 2**16, 2**16, 8, 4, 8), 1, 4, None)
@example((2**12, 2**16, 2**16, 8, 4, 8), 2, 4, None)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_index_arithmetic_has_64_bits(tiling, shape, dim, element_size, data):
    n, h, w, groups, shared, gap = shape
    huge = make_huge(shape)
    vertical = dim in (1, -3)
    length, across = (h, w) if vertical else (w, h)
    columns, tile_groups = tiling.size(huge, dim, element_size)
    # Horizontal lines are never neighbours in a tile.
    column_tiles = -(-w // columns) if vertical else across
    assert vertical or columns == 1
    group_tiles = -(-groups // tile_groups)

    def draw(size):  # the last one unless hypothesis chooses
        return data.draw(st.integers(0, size - 1)) if data else size - 1

    image, tile, part = draw(n), draw(column_tiles), draw(group_tiles)
    index = (image * column_tiles + tile) * group_tiles + part
    width = min(columns, across - tile * columns)
    row, column = draw(length), draw(width)
    line = tile * columns + column
    y, x = (row, line) if vertical else (line, row)
    token = (image * h + y) * w + x
    group = part * tile_groups
    assert tiling.tile(huge, dim, element_size, index, row, column) == [
        width,
        min(tile_groups, groups - group),
        token * groups * shared + group * shared,
        token * (groups + gap) + group,
        token * groups + group,
    ]


def test_lines_are_not_too_long(tiling):
    """What neither float32 nor the indices in a tile can count."""
    for length, shared, element_size in (
        (2**24, 1, 4),
        (2**28, 7, 8),
    ):
        huge = make_huge((1, length, 1, 1, shared, 0))
        assert tiling.size(huge, 1, element_size) == (1, 1)
    for length, shared, element_size, message in (
        (2**24 + 1, 1, 4, r'at most 2\*\*24 tokens.*got 16777217'),
        (2**28, 8, 8, r'fewer than 2\*\*31 elements.*got 268435456 .*8 chan'),
    ):
        huge = make_huge((1, length, 1, 1, shared, 0))
        with pytest.raises(KERNEL_ERRORS, match=message):
            tiling.size(huge, 1, element_size)


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize(
    'shape', [(1, 6, 5, 64, 32), (1, 3, 4099, 40, 10)], ids=str
)
def test_every_element_is_written(shape, dim):
    *shape, groups = shape
    tensors = make(shape, groups)
    with nan_in_new_memory():
        results = (
            OP(*tensors[:2], dim),
            *BACKWARD_OP(tensors[2], *tensors[:2], dim),
        )
    for result in results:
        assert result.isfinite().all()


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_threads_change_nothing(dtype, dim):
    threads = torch.get_num_threads()
    try:
        for shape, groups in (((3, 37, 41, 24), 6), ((1, 2100, 9, 64), 32)):
            input, offset, grad = make(shape, groups, dtype, std=10)
            results = []
            for number in (1, 2, 3, 7):
                torch.set_num_threads(number)
                results.append(
                    (
                        OP(input, offset, dim),
                        *BACKWARD_OP(grad, input, offset, dim),
                    )
                )
            for result in results[1:]:
                for actual, expected in zip(result, results[0]):
                    assert torch.equal(actual, expected)
    finally:
        torch.set_num_threads(threads)


def test_packed_offsets_are_not_copied():
    input = torch.randn(2, 5, 6, 16)
    packed = torch.randn(2, 5, 6, 8)
    for dim, offset in ((2, packed[..., :4]), (1, packed[..., 4:])):
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            output = OP(input, offset, dim)
        names = {event.name for event in profiler.events()}
        assert 'mmactive::axial_deform_gather' in names
        assert not names & {'aten::copy_', 'aten::contiguous', 'aten::clone'}
        expected = OP(input, offset.contiguous(), dim)
        torch.testing.assert_close(output, expected, rtol=0, atol=0)


def test_non_finite_input_stays_in_its_place():
    """Only a sample between it and a neighbour sees a non-finite value."""
    input = torch.zeros(1, 1, 9, 8)
    input[0, 0, 4] = float('inf')
    position = torch.tensor([-5.0, -0.5, 0, 3.5, 4, 4.5, 5, 8.5, 100])
    offset = position - torch.arange(9)
    for groups in (1, 2, 4, 8):
        output = OP(input, offset.view(1, 1, 9, 1).repeat(1, 1, 1, groups), 2)
        for channel in output[0, 0].unbind(1):
            assert channel[[3, 5]].isinf().all()
            # Both neighbours are weighted, here with 1 and 0.
            assert (channel[4] == float('inf')) or channel[4].isnan()
            assert (channel[[0, 1, 2, 6, 7, 8]] == 0).all()


def test_without_vector_instructions():
    """The kernels for any processor of this architecture."""
    code = (
        'import torch\n'
        "assert torch.backends.cpu.get_cpu_capability() != 'AVX2'\n"
        "assert torch.backends.cpu.get_cpu_capability() != 'AVX512'\n"
        'from test_cpu_kernels import *\n'
        'test_group_sizes(2, 1)\n'
        'for group_size in (1, 2, 3, 4, 8, 11):\n'
        '    for groups in (7, 64, 65):\n'
        '        check((2, 5, 6, groups * group_size), groups, 2)\n'
        'test_half_precision(torch.bfloat16, 1)\n'
        'test_non_finite_input_stays_in_its_place()\n'
    )
    process = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'ATEN_CPU_CAPABILITY': 'default'},
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr


def test_gradients_reach_packed_offsets():
    """Both slices of one tensor get their part of its gradient."""
    input = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    packed = torch.rand(1, 4, 5, 4, dtype=torch.float64) * 0.5 + 0.25
    assert torch.autograd.gradcheck(
        lambda p: (
            axial_deform_gather(input, p[..., :2], 2)
            + axial_deform_gather(input, p[..., 2:], 1)
        ),
        packed.requires_grad_(),
    )
