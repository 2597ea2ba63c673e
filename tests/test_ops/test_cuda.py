# Copyright (c) mmactive contributors. All rights reserved.
"""What only a GPU can show: streams, graphs, devices and large tensors.

``test_axial_deform_gather.py`` tests the arithmetic of every backend.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_axial_deform_gather import (
    DTYPES,
    Reference,
    assert_close,
    assert_rounded_once,
    make,
    run,
    run_in_float64,
)

from mmactive.ops import axial_deform_gather

OPS = torch.ops.mmactive

pytestmark = pytest.mark.cuda


def test_has_cuda_kernels():
    """Else the tests would pass with the slow reference."""
    dump = torch._C._dispatch_dump('mmactive::axial_deform_gather')
    assert '\nCUDA:' in dump, 'mmactive was built without CUDA kernels'


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('shared', [1, 2, 3, 4, 6, 8, 12, 16, 64])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_equals_cpu(dtype, shared, dim):
    """Vectors of 1, 2, 4 and 8 channels, one or several for an offset."""
    for size in (7, 56, 133):
        tensors = make((2, size, size + 3, 5 * shared), 5, dtype, std=3)
        expected = run(axial_deform_gather, *tensors, dim)
        moved = [tensor.detach().cuda() for tensor in tensors]
        actual = run(axial_deform_gather, *moved, dim)
        # Sums in another order, then one rounding to the dtype.
        eps = torch.finfo(dtype).eps
        atol = shared * (50 * eps if eps < 1e-6 else eps / 8)
        for a, e in zip(actual, expected):
            torch.testing.assert_close(a.cpu(), e, rtol=eps, atol=atol)


def check(shape, groups, dim, dtype, std):
    """Compares with the reference in float64."""
    tensors = make(shape, groups, dtype, std=std)
    moved = [tensor.detach().cuda() for tensor in tensors]
    actual = run(axial_deform_gather, *moved, dim)
    expected = run_in_float64(Reference.apply, *tensors, dim)
    assert_rounded_once([tensor.cpu() for tensor in actual], expected)


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('length', [300, 1500, 4099, 40013])
@pytest.mark.parametrize('shared', [2, 3, 8])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_long_axis(dtype, shared, length, dim):
    """From shared memory of less than 48 KB over more to none."""
    size = (length, 2) if dim == 1 else (2, length)
    check((1, *size, 3 * shared), 3, dim, dtype, std=length / 4)


@given(
    shape=st.tuples(
        st.integers(1, 3),
        st.integers(1, 70) | st.integers(200, 600),
        st.integers(1, 70),
        st.integers(1, 12),
        st.sampled_from([2, 4, 8]) | st.integers(1, 17),
    ),
    dim=st.sampled_from([1, 2]),
    dtype=st.sampled_from(DTYPES),
    std=st.sampled_from([0.0, 0.7, 5.0, 1e4]),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_shape(shape, dim, dtype, std):
    n, h, w, groups, shared = shape
    if dim == 2:  # the long side is the axis
        h, w = w, h
    check((n, h, w, groups * shared), groups, dim, dtype, std)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_writes_every_element(dtype):
    try:  # fills what `empty` returns with NaN
        torch.use_deterministic_algorithms(True)
        for dim in (1, 2):
            for groups in (1, 3, 12, 24):
                tensors = make((3, 29, 31, 24), groups, dtype, 'cuda')
                for tensor in run(axial_deform_gather, *tensors, dim):
                    assert tensor.isfinite().all()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize('dim', [1, 2])
def test_is_bitwise_deterministic_under_load(dim):
    tensors = make((8, 56, 56, 64), 32, torch.bfloat16, 'cuda', std=20)
    expected = run(axial_deform_gather, *tensors, dim)
    other = torch.cuda.Stream()
    for _ in range(20):
        with torch.cuda.stream(other):  # disturbs the order of blocks
            torch.randn(1024, 1024, device='cuda') @ torch.randn(
                1024, 1024, device='cuda'
            )
        actual = run(axial_deform_gather, *tensors, dim)
        assert_close(actual, expected, rtol=0, atol=0)


def test_runs_on_the_current_stream():
    input, offset = (x.detach() for x in make((4, 64, 64, 64), 16))
    expected = axial_deform_gather(input, offset, 2)
    source = torch.zeros_like(input, device='cuda')
    offset = offset.cuda()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # the default stream does not wait
        source.copy_(input.cuda())
        output = axial_deform_gather(source, offset, 2)
    stream.synchronize()
    torch.testing.assert_close(output.cpu(), expected)


@pytest.mark.parametrize('length', [400, 9000])  # too long to be staged
def test_can_be_captured_in_a_graph(length):
    input, offset = (
        x.detach() for x in make((2, length, 20, 32), 8, device='cuda')
    )
    grad = torch.randn_like(input)

    def step():
        output = OPS.axial_deform_gather(input, offset, 1)
        return output, *OPS.axial_deform_gather_backward(
            grad, input, offset, 1
        )

    step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for seed in range(3):
        torch.manual_seed(seed)
        input.copy_(torch.randn_like(input))
        offset.copy_(torch.randn_like(offset) * 3)
        graph.replay()
        assert_close(captured, step(), rtol=0, atol=0)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two GPUs')
def test_runs_on_the_device_of_its_tensors():
    tensors = make((2, 9, 9, 16), 4)
    expected = run(axial_deform_gather, *tensors, 1)
    moved = [x.detach().to('cuda:1') for x in tensors]
    with torch.cuda.device(0):
        actual = run(axial_deform_gather, *moved, 1)
    assert_close([x.cpu() for x in actual], expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match='on the device of input, cuda:0'):
        axial_deform_gather(tensors[0].cuda(0), moved[1], 1)


@pytest.mark.parametrize('dim', [1, 2])
def test_more_elements_than_32_bits_count(dim):
    shape = (33, 1024, 1024, 64)  # 2.2e9 elements, 22 GB in all
    if torch.cuda.mem_get_info()[0] < 30 * 2**30:
        pytest.skip('needs 30 GiB of free GPU memory')
    torch.manual_seed(0)
    options = {'dtype': torch.bfloat16, 'device': 'cuda'}
    input, grad = (torch.randn(shape, **options) for _ in range(2))
    offset = torch.randn((*shape[:3], 8), **options)
    output = OPS.axial_deform_gather(input, offset, dim)
    grads = OPS.axial_deform_gather_backward(grad, input, offset, dim)
    for image in (0, 16, 31, 32):  # the last lie behind 2 ** 31
        x, o, g = (t[image : image + 1] for t in (input, offset, grad))
        expected = (
            OPS.axial_deform_gather(x, o, dim),
            *OPS.axial_deform_gather_backward(g, x, o, dim),
        )
        actual = [t[image : image + 1] for t in (output, *grads)]
        assert_close(actual, expected, rtol=0, atol=0)
