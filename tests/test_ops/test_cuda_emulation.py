# Copyright (c) mmactive contributors. All rights reserved.
"""The CUDA kernels on a CPU, for machines without a GPU.

``cuda_emulation`` compiles the unchanged CUDA source as C++ and runs its
threads one by one. That finds wrong arithmetic, indices and barriers, but
tells nothing about speed. With a GPU, ``test_axial_deform_gather.py`` tests
the real thing.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compiler import compile_library
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_axial_deform_gather import (  # noqa: F401
    DTYPES,
    KERNEL_ERRORS,
    Reference,
    assert_close,
    assert_rounded_once,
    make,
    run,
    run_in_float64,
    test_all_offsets_outside,
    test_empty,
    test_integer_and_border_positions,
    test_memory_layouts,
    test_negative_dims,
    test_special_offsets,
    test_unaligned_memory,
    torchvision_gather,
)
from test_cpu_kernels import HUGE, make_huge
from uninitialized import nan_in_new_memory

from mmactive.ops import axial_shift_reference

FOLDER = Path(__file__).parent / 'cuda_emulation'
OPS = torch.ops.mmactive_emulation
H200 = {'processors': 132, 'shared_bytes': 227 * 1024}
# Few processors get wide blocks whose threads loop; little shared memory makes
# the kernels go without.
GPUS = {
    'H200': H200,
    'one_processor': {**H200, 'processors': 1},
    'no_shared_memory': {'processors': 1, 'shared_bytes': 64},
}


class Emulation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, offset, dim):
        ctx.save_for_backward(input, offset)
        ctx.dim = dim
        return OPS.axial_deform_gather(input, offset, dim)

    @staticmethod
    def backward(ctx, grad_output):
        grads = OPS.axial_deform_gather_backward(
            grad_output, *ctx.saved_tensors, ctx.dim
        )
        return (*grads, None)


def set_gpu(processors, shared_bytes, order=1):
    """Pretends to be a GPU that runs its threads in some order."""
    OPS.set_gpu(processors, shared_bytes, order)


def compile_emulation(folder, *flags):
    """Returns the path of the compiled emulation."""
    # The emulation's folder comes first: it stands in for some headers.
    return compile_library(
        *(FOLDER / 'operator.cpp', folder),
        *('-O1', '-DUSE_CUDA', f'-I{FOLDER}', *flags),
    )


@pytest.fixture(scope='module', autouse=True)
def emulation(tmp_path_factory):
    folder = tmp_path_factory.mktemp('emulation')
    torch.ops.load_library(compile_emulation(folder))


@pytest.fixture(params=GPUS)
def gather(request):
    """What the tests of the real operator test in this module."""
    if request.node.callspec.params.get('device') == 'cuda':
        pytest.skip('an emulation runs on the CPU')
    set_gpu(**GPUS[request.param])
    return Emulation.apply


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('shared', [1, 2, 3, 4, 8, 12, 16])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_any_number_of_shared_channels(gather, dtype, shared, dim):
    """Vectors of 1, 2, 4 and 8 channels, one or several for an offset."""
    shape = (2, 19, 7, 5 * shared) if dim == 1 else (2, 7, 19, 5 * shared)
    input, offset = make(shape, 5, dtype)
    actual = run(gather, input, offset, dim)
    expected = run_in_float64(Reference.apply, input, offset, dim)
    assert_rounded_once(actual, expected)


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('wide', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('dtype', DTYPES[2:], ids=str)
def test_offset_of_wider_dtype(gather, dtype, wide, dim):
    input, offset = make((1, 9, 11, 48), 4, dtype)
    offset = make((1, 9, 11, 4), 4, wide)[1]
    actual = run(gather, input, offset, dim)
    assert [t.dtype for t in actual] == [dtype, dtype, wide]
    assert_close(
        actual, run(Reference.apply, input, offset, dim), rtol=1e-2, atol=1e-5
    )
    # Sub-token accuracy is kept where bfloat16 has none.
    index = torch.arange(300.0).bfloat16().view(1, 1, 300, 1)
    shift = torch.full((1, 1, 300, 1), 0.25, dtype=wide)
    output = gather(torch.ones_like(index), shift, 2)
    assert (output[..., :-1, :] == 1).all()
    assert output[0, 0, -1, 0] == 0.75


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize(
    ('length', 'dtype'),
    [(300, torch.float32), (4099, torch.float64), (15013, torch.float32)],
)
def test_long_axis(length, dtype, dim):
    """Blocks of fewer columns, then no shared memory."""
    set_gpu(**H200)
    shape = (1, length, 2, 6) if dim == 1 else (1, 2, length, 6)
    tensors = make(shape, 3, dtype, std=length / 4)
    # Positions of float32 are off by eps * length, times a slope of ~4.
    tolerance = 4 * torch.finfo(dtype).eps * length
    assert_close(
        run(Emulation.apply, *tensors, dim),
        run(torchvision_gather, *tensors, dim),
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('gpu', GPUS)
def test_order_of_threads_changes_nothing(gpu, dim):
    """Bit for bit: no race that an order of threads can show."""
    # Many tokens look at the same few places: the order of sums would show.
    tensors = make((2, 33, 31, 24), 6, std=20)
    results = []
    for order in range(5):
        set_gpu(**GPUS[gpu], order=order)
        results.append(run(Emulation.apply, *tensors, dim))
    for result in results[1:]:
        assert_close(result, results[0], rtol=0, atol=0)


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_writes_every_element(gather, dtype, dim):
    input, offset = (x.detach() for x in make((2, 9, 21, 30), 5, dtype))
    with nan_in_new_memory():
        output = gather(input, offset, dim)
        grads = OPS.axial_deform_gather_backward(input, input, offset, dim)
    for tensor in (output, *grads):
        assert tensor.isfinite().all()


def test_reads_packed_offsets_in_place(gather):
    input, _ = make((2, 9, 21, 32), 8)
    packed = torch.randn(2, 9, 21, 16)
    with torch.profiler.profile() as profile:
        for dim, offset in ((1, packed[..., 8:]), (2, packed[..., :8])):
            gather(input.detach(), offset, dim)
    names = {event.key for event in profile.key_averages()}
    assert 'mmactive_emulation::axial_deform_gather' in names
    assert not names & {'aten::copy_', 'aten::clone', 'aten::contiguous'}


@given(
    shape=st.tuples(
        st.integers(1, 3),
        st.integers(1, 40),
        st.integers(1, 40),
        st.integers(1, 6),
        st.integers(1, 9),
    ),
    dim=st.sampled_from([1, 2]),
    dtype=st.sampled_from(DTYPES),
    gpu=st.sampled_from(list(GPUS)),
    std=st.sampled_from([0.0, 0.7, 5.0, 1e4]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_shape(shape, dim, dtype, gpu, std, seed):
    n, h, w, groups, shared = shape
    set_gpu(**GPUS[gpu], order=seed)
    tensors = make(
        (n, h, w, groups * shared), groups, dtype, std=std, seed=seed
    )
    assert_rounded_once(
        run(Emulation.apply, *tensors, dim),
        run_in_float64(Reference.apply, *tensors, dim),
    )


@given(
    shape=st.tuples(
        st.integers(1, 2),
        *[st.integers(1, 9)] * 2,
        st.integers(1, 40) | st.integers(500, 1100),
    ),
    dim=st.sampled_from([1, 2]),
    border=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_axial_shift(shape, dim, border, dtype, seed):
    """Launches of a part of the channels, and gradients at the border."""
    set_gpu(**H200, order=seed)
    generator = torch.Generator().manual_seed(seed)
    shifts = torch.randint(-4, 5, shape[-1:], generator=generator).tolist()
    x = torch.randn(shape, generator=generator).to(dtype)
    with nan_in_new_memory():
        actual = OPS.axial_shift(x, shifts, dim, border)
        grad = OPS.axial_shift_backward(x, shifts, dim, border)
    assert torch.equal(actual, axial_shift_reference(x, shifts, dim, border))
    expected = torch.ops.mmactive.axial_shift_backward(x, shifts, dim, border)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(grad, expected, rtol=eps, atol=2 * eps)


@given(
    shape=st.tuples(*[st.integers(1, 2**21)] * 3),
    dim=st.sampled_from([1, 2, -2, -3]),
    data=st.data(),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_index_arithmetic_has_64_bits(shape, dim, data):
    n, h, w = shape
    vertical = dim in (1, -3)
    line = data.draw(st.integers(0, n * (w if vertical else h) - 1))
    count, length, stride, token = OPS.lines([*shape, 1, 1, 1], dim, line)
    assert count == n * (w if vertical else h)
    assert (length, stride) == ((h, w) if vertical else (w, 1))
    image, rest = divmod(line, w if vertical else h)
    assert token == image * h * w + (rest if vertical else rest * w)


def test_axes_are_as_long_as_positions_can_count():
    for bits, is_double in ((24, False), (30, True)):
        OPS.grid([1, 2**bits, 1, 1, 1, 1], is_double, 1)
        with pytest.raises(
            KERNEL_ERRORS, match=rf'at most 2\*\*{bits} tokens'
        ):
            OPS.grid([1, 2**bits + 1, 1, 1, 1, 1], is_double, 1)


@given(
    shape=HUGE,
    dim=st.sampled_from([1, 2, -2, -3]),
    threads=st.sampled_from([8, 32]),
    data=st.data(),
)
@example((2**12, 2**16, 2**16, 8, 4, 8), 1, 32, None)
@example((2**12, 2**16, 2**16, 8, 4, 8), 2, 32, None)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_columns_have_64_bits(shape, dim, threads, data):
    n, h, w, groups, shared, gap = shape
    huge = make_huge(shape)
    vertical = dim in (1, -3)
    across = w if vertical else h
    vector = 2 if shared % 2 == 0 else 1
    parts_per_group = shared // vector
    parts = groups * parts_per_group
    count = n * across * parts

    blocks, width = OPS.grid(huge, False, dim)
    assert (blocks - 1) * width < count * vector <= blocks * width

    index = data.draw(st.integers(0, count - 1)) if data else count - 1
    line, part = divmod(index, parts)
    image, rest = divmod(line, across)
    token = image * h * w + (rest if vertical else rest * w)
    stride = w if vertical else 1
    block, thread = divmod(index, threads)
    assert OPS.column(huge, dim, vector, threads, block, thread) == [
        True,
        token * parts + part,
        stride * parts,
        token * (groups + gap) + part // parts_per_group,
        stride * (groups + gap),
    ]
    block, thread = divmod(count, threads)
    assert not OPS.column(huge, dim, vector, threads, block, thread)[0]


def test_checks_arguments():
    x, o = torch.zeros(2, 4, 5, 6), torch.zeros(2, 4, 5, 3)
    for input, offset, dim, message in (
        (x[0], o, 1, r'input must be \(N, H, W, C\).*\[4, 5, 6\]'),
        (x, o[:1], 1, r'offset \(N, H, W, G\).*\[1, 4, 5, 3\]'),
        (x, torch.zeros(2, 4, 5, 4), 1, 'divides the 6 channels.*got 4'),
        (x, o[..., :0], 1, 'divides the 6 channels.*got 0'),
        (x, o, 0, 'dim must be 1, 2, -3 or -2, but got 0'),
        (x, o.half(), 1, 'at least as wide as input, Float, but got Half'),
        (x.half(), o.bfloat16(), 1, 'wide as input, Half, but got BFloat16'),
        (x.long(), o.double(), 1, 'input must be of dtype.*but got Long'),
        (x, o + 0j, 1, 'offset must be of dtype.*but got ComplexFloat'),
    ):
        with pytest.raises(KERNEL_ERRORS, match=message):
            OPS.axial_deform_gather(input, offset, dim)
        with pytest.raises(KERNEL_ERRORS, match=message):
            OPS.axial_deform_gather_backward(input, input, offset, dim)
    with pytest.raises(KERNEL_ERRORS, match='grad_output must have the shape'):
        OPS.axial_deform_gather_backward(x[:1], x, o, 1)
    with pytest.raises(KERNEL_ERRORS, match='grad_output must have the dtype'):
        OPS.axial_deform_gather_backward(x.half(), x, o, 1)


@pytest.mark.slow
def test_touches_no_stray_memory(tmp_path):
    """Under the compiler's address and undefined behaviour sanitizers."""
    compiler = os.getenv('CXX', 'c++')
    runtimes = [
        subprocess.check_output(
            [compiler, f'-print-file-name=lib{name}.so'], text=True
        ).strip()
        for name in ('asan', 'ubsan')
    ]
    if not all(map(os.path.isabs, runtimes)):
        pytest.skip(f'{compiler} has no sanitizers')
    library = compile_emulation(
        tmp_path,
        '-fsanitize=address,undefined',
        '-fno-sanitize-recover=undefined',
    )
    process = subprocess.run(
        [sys.executable, FOLDER.parent / 'sanitized_operator.py', library],
        env={
            **os.environ,
            'LD_PRELOAD': ':'.join(runtimes),
            # Python never frees some memory, and threads are fibers.
            'ASAN_OPTIONS': 'detect_leaks=0:detect_stack_use_after_return=0',
        },
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == 'Every kernel ran.\n'
