# Copyright (c) mmactive contributors. All rights reserved.
"""The ATM operator against ``torchvision.ops.deform_conv2d`` and float64."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmactive.ops import axial_deform_gather, axial_deform_gather_reference
from mmactive.ops.axial_deform_gather import _backward_reference

try:
    from torchvision.ops import deform_conv2d
except ImportError:  # A new PyTorch comes before its torchvision.
    deform_conv2d = None

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.cuda)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
OP = torch.ops.mmactive.axial_deform_gather.default
BACKWARD_OP = torch.ops.mmactive.axial_deform_gather_backward.default


class Reference(torch.autograd.Function):
    """The PyTorch reference with its own backward, as the fallback runs it."""

    @staticmethod
    def forward(ctx, input, offset, dim):
        ctx.save_for_backward(input, offset)
        ctx.dim = dim
        return axial_deform_gather_reference(input, offset, dim)

    @staticmethod
    def backward(ctx, grad_output):
        grads = _backward_reference(grad_output, *ctx.saved_tensors, ctx.dim)
        return (*grads, None)


# The kernels' own: through PyTorch 2.15's stable ABI all are RuntimeErrors.
KERNEL_ERRORS = (TypeError, ValueError, RuntimeError)

BACKENDS = {'kernel': axial_deform_gather, 'reference': Reference.apply}


@pytest.fixture(params=BACKENDS)
def gather(request):
    return BACKENDS[request.param]


def torchvision_gather(input, offset, dim):
    """The same as a 1x1 deformable convolution, one offset group a channel."""
    if deform_conv2d is None:
        pytest.skip('needs torchvision')
    channels = input.size(3)
    moved = offset.permute(0, 3, 1, 2)
    moved = moved.repeat_interleave(channels // offset.size(3), dim=1)
    still = torch.zeros_like(moved)
    vertical, horizontal = (moved, still) if dim % 4 == 1 else (still, moved)
    weight = torch.eye(channels, dtype=input.dtype, device=input.device)
    output = deform_conv2d(
        input.permute(0, 3, 1, 2),
        torch.stack((vertical, horizontal), dim=2).flatten(1, 2),
        weight.view(channels, channels, 1, 1),
    )
    return output.permute(0, 2, 3, 1)


def make(shape, groups, dtype=torch.float32, device='cpu', std=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n, h, w, _ = shape
    input = torch.randn(shape, generator=generator, dtype=torch.float64)
    offset = torch.randn(
        (n, h, w, groups), generator=generator, dtype=torch.float64
    )
    return (
        input.to(device, dtype).requires_grad_(),
        (offset * std).to(device, dtype).requires_grad_(),
    )


def run(function, input, offset, dim, seed=1, grad_dtype=None):
    """Returns the output and both gradients for a seeded random gradient."""
    input = input.detach().requires_grad_()
    offset = offset.detach().requires_grad_()
    output = function(input, offset, dim)
    generator = torch.Generator().manual_seed(seed)
    grad = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    grad = grad.to(output.device, grad_dtype or output.dtype)
    grads = torch.autograd.grad(output, (input, offset), grad.to(output.dtype))
    return (output.detach(), *grads)


def run_in_float64(function, input, offset, dim):
    """Runs on the same numbers in float64.

    Only the positions are rounded, to what they are in the dtype of `offset`,
    but at least in float32.
    """
    index = torch.arange(input.size(dim), device=input.device)
    index = index.view(-1, 1, 1) if dim % 4 == 1 else index.view(-1, 1)
    opmath = torch.promote_types(offset.dtype, torch.float32)
    position = (index + offset.detach().to(opmath)).double()
    return run(
        function,
        input.double(),
        position - index,
        dim,
        grad_dtype=input.dtype,
    )


def assert_close(actual, expected, **tolerance):
    for name, a, e in zip(
        ('output', 'grad_input', 'grad_offset'), actual, expected
    ):
        torch.testing.assert_close(
            a,
            e,
            equal_nan=True,
            msg=lambda text, name=name: f'{name}: {text}',
            **tolerance,
        )


def assert_rounded_once(actual, expected):
    """Compares with float64: off by half a unit in the last place.

    Beside that by the error of the arithmetic, that of float32 for half
    dtypes.
    """
    for name, a, e in zip(
        ('output', 'grad_input', 'grad_offset'), actual, expected
    ):
        arithmetic = 1e-12 if a.dtype == torch.float64 else 2e-5
        info = torch.finfo(a.dtype)  # tiny: below it steps are even
        bound = info.eps / 2 * e.abs().clamp(min=info.tiny) + arithmetic
        error = (a.double() - e).abs()
        assert (error <= bound).all(), f'{name}: off by {error.max()}'


SHAPES = [
    # N, H, W, C, G
    (2, 7, 5, 8, 4),
    (1, 14, 14, 40, 10),
    (3, 1, 9, 6, 6),
    (2, 9, 1, 6, 1),
    (1, 1, 1, 3, 3),
    (2, 3, 4, 7, 1),
    (1, 17, 23, 24, 3),
    (1, 5, 6, 64, 32),
    (2, 4, 4, 15, 5),
    (1, 2, 33, 48, 3),
]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('std', [0.3, 3.0, 30.0])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_equals_torchvision(gather, shape, std, dim, device):
    *shape, groups = shape
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        tensors = make(shape, groups, dtype, device, std)
        assert_close(
            run(gather, *tensors, dim),
            run(torchvision_gather, *tensors, dim),
            rtol=tolerance,
            atol=tolerance,
        )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('shared', [1, 2, 4, 8, 16])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_integer_and_border_positions(gather, dtype, shared, dim, device):
    """Every position from -3 to 3 behind the end, in steps of 1/4."""
    length, groups = 6, 9
    positions = torch.arange(-3, length + 3, 0.25, dtype=torch.float64)
    size = (length, 2) if dim == 1 else (2, length)
    input, _ = make((len(positions), *size, groups * shared), groups, dtype)
    index = torch.arange(length, dtype=torch.float64)
    index = index.view(-1, 1, 1) if dim == 1 else index.view(-1, 1)
    # All tokens of image n look at the same place, so that the gradients of
    # the input add up there.
    offset = positions.view(-1, 1, 1, 1) - index
    offset = offset.expand(-1, *size, groups)
    assert (offset.to(dtype) == offset).all()
    input, offset = input.to(device), offset.to(device, dtype)

    actual = run(gather, input, offset, dim)
    expected = run_in_float64(torchvision_gather, input, offset, dim)
    # At the kink at -1 torchvision takes the right-hand derivative, although
    # the sample is outside.
    at_kink = positions == -1
    assert expected[2][at_kink].abs().max() > 0
    expected[2][at_kink] = 0
    assert_rounded_once(actual, expected)
    outside = (positions <= -1) | (positions >= length)
    for tensor in actual:
        assert (tensor[outside] == 0).all()


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('shape', [(2, 4, 3, 6, 3), (1, 5, 2, 8, 1)], ids=str)
def test_gradcheck(shape, dim):
    *shape, groups = shape
    input, offset = make(shape, groups, torch.float64)
    # Away from the kinks, which finite differences would step over.
    with torch.no_grad():
        offset.copy_(offset.floor() + 0.25 + 0.5 * torch.rand_like(offset))
    assert torch.autograd.gradcheck(
        lambda x, o: axial_deform_gather(x, o, dim), (input, offset)
    )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('offset_dtype', DTYPES, ids=str)
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_rounds_once(gather, dtype, offset_dtype, dim, device):
    """Every dtype is within its own rounding of float64 on the same input."""
    if torch.promote_types(dtype, offset_dtype) != offset_dtype:
        pytest.skip('a narrower offset is promoted: see the test below')
    shape = (2, 11, 13, 24)
    input, offset = make(shape, 6, dtype, device)
    index = torch.arange(shape[dim], device=device)
    index = index.view(-1, 1, 1) if dim == 1 else index.view(-1, 1)
    # torchvision's derivative at -1 is another one: see the test above.
    offset = offset.detach().where(index + offset != -1, 0).to(offset_dtype)
    actual = run(gather, input, offset, dim)
    assert [t.dtype for t in actual] == [dtype, dtype, offset_dtype]

    expected = run_in_float64(torchvision_gather, input, offset, dim)
    assert_rounded_once(actual, expected)


def test_narrower_offset_is_promoted():
    input, offset = make((1, 5, 6, 4), 2)
    narrow = offset.detach().bfloat16()
    actual = run(axial_deform_gather, input, narrow, 2)
    assert actual[2].dtype == torch.bfloat16
    expected = run(axial_deform_gather, input, narrow.float(), 2)
    torch.testing.assert_close(actual[:2], expected[:2], rtol=0, atol=0)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('shared', [1, 2, 4, 8, 16])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_special_offsets(gather, dtype, shared, dim, device):
    # Kernels take several groups at a time: one among them and a last one.
    groups, touched = 9, [1, 8]
    input, offset = make(
        (2, 6, 5, groups * shared), groups, dtype, device, std=0.5
    )

    def run_by_group(offset):
        output, grad_input, grad_offset = run(gather, input, offset, dim)
        by_group = (groups, shared)
        return (
            output.unflatten(3, by_group),
            grad_input.unflatten(3, by_group),
            grad_offset,
        )

    clean = run_by_group(offset)
    huge = torch.finfo(dtype).max
    special = [float('nan'), float('inf'), -float('inf'), huge, -huge]
    offset = offset.detach().clone()
    for i, value in enumerate(special):
        offset[0, i, i, touched] = value
    output, grad_input, grad_offset = run_by_group(offset)

    for i, value in enumerate(special):
        for tensor, untouched in (
            (output, clean[0]),
            (grad_offset, clean[2]),
        ):
            values = tensor[0, i, i, touched]
            if i == 0:
                assert values.isnan().all()
            else:
                assert (values == 0).all(), value
            # All else is as if nothing had happened.
            tensor[0, i, i, touched] = untouched[0, i, i, touched]
    torch.testing.assert_close(output, clean[0], rtol=0, atol=0)
    torch.testing.assert_close(grad_offset, clean[2], rtol=0, atol=0)
    assert grad_input.isfinite().all()
    torch.testing.assert_close(grad_input[1], clean[1][1], rtol=0, atol=0)
    # Images and groups without special offsets keep their gradients.
    others = [g for g in range(groups) if g not in touched]
    torch.testing.assert_close(
        grad_input[..., others, :], clean[1][..., others, :], rtol=0, atol=0
    )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dim', [1, 2])
def test_all_offsets_outside(gather, dim, device):
    input, offset = make((2, 6, 5, 8), 4, device=device)
    for value in (7.0, -7.0, 1e30, float('inf')):
        for tensor in run(gather, input, torch.full_like(offset, value), dim):
            assert (tensor == 0).all()
    actual = run(gather, input, torch.full_like(offset, float('nan')), dim)
    assert actual[0].isnan().all()
    assert (actual[1] == 0).all()
    assert actual[2].isnan().all()


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dim', [1, 2])
def test_zero_offsets_are_the_identity(gather, dim, device):
    input, offset = make((2, 6, 5, 8), 4, device=device)
    output = gather(input, torch.zeros_like(offset), dim)
    torch.testing.assert_close(output, input, rtol=0, atol=0)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('dim', [1, 2])
def test_memory_layouts(gather, dim, dtype, device):
    """Strides change nothing, and the output is always contiguous."""
    input, offset = make((2, 6, 5, 8), 4, dtype, device)
    input, offset = input.detach(), offset.detach()
    expected = run(gather, input, offset, dim)

    def channels_first(x):
        return x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)

    def transposed(x):
        return x.transpose(1, 2).contiguous().transpose(1, 2)

    def packed(x):  # what the offset layer's output is sliced into
        return torch.cat((x, x + 1), dim=3)[..., : x.size(3)]

    def packed_second(x):
        return torch.cat((x + 1, x), dim=3)[..., x.size(3) :]

    def every_other(x):
        return x.repeat_interleave(2, dim=3)[..., ::2]

    def cropped(x):
        return torch.nn.functional.pad(x, (0, 0, 1, 1, 1, 1))[:, 1:-1, 1:-1]

    layouts = (
        channels_first,
        transposed,
        packed,
        packed_second,
        every_other,
        cropped,
    )
    for layout in layouts:
        assert not layout(offset).is_contiguous()
        for tensors in (
            (layout(input), offset),
            (input, layout(offset)),
            (layout(input), layout(offset)),
        ):
            actual = run(gather, *tensors, dim)
            assert_close(actual, expected, rtol=0, atol=0)
            assert actual[0].is_contiguous()

    x, o = input.requires_grad_(), offset.requires_grad_()
    output = gather(x, o, dim)
    for layout in layouts:  # of the incoming gradient
        grad = torch.randn_like(output)
        torch.testing.assert_close(
            torch.autograd.grad(
                output, (x, o), layout(grad), retain_graph=True
            ),
            torch.autograd.grad(output, (x, o), grad, retain_graph=True),
            rtol=0,
            atol=0,
        )
    # `sum` sends back a single number with strides of zero.
    ones = torch.ones_like(output)
    torch.testing.assert_close(
        torch.autograd.grad(output.sum(), (x, o), retain_graph=True),
        torch.autograd.grad(output, (x, o), ones),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_unaligned_memory(gather, dtype, dim, device):
    """Tensors that start anywhere: the vectors must become shorter."""
    input, offset = make((1, 9, 8, 32), 4, dtype, device)
    grad = torch.randn_like(input)

    def run_moved(start):
        def move(tensor):
            buffer = tensor.new_empty(start + tensor.numel())
            return buffer[start:].view(tensor.shape).copy_(tensor)

        x, o = (move(t.detach()).requires_grad_() for t in (input, offset))
        output = gather(x, o, dim)
        grads = torch.autograd.grad(output, (x, o), move(grad))
        return output.detach(), grads

    expected, expected_grads = run_moved(0)
    for start in (1, 2, 4):
        actual, grads = run_moved(start)
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
        torch.testing.assert_close(
            grads,
            expected_grads,
            rtol=1e-5,  # the parts of the offset's gradient are other ones
            atol=1e-2 if torch.finfo(dtype).bits == 16 else 1e-5,
        )


@pytest.mark.parametrize('device', DEVICES)
def test_negative_dims(gather, device):
    tensors = make((2, 6, 5, 8), 4, device=device)
    for dim in (1, 2):
        assert_close(
            run(gather, *tensors, dim - 4),
            run(gather, *tensors, dim),
            rtol=0,
            atol=0,
        )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize(
    'shape',
    [
        (0, 4, 5, 6, 2),
        (2, 0, 5, 6, 2),
        (2, 4, 0, 6, 2),
        (2, 4, 5, 0, 2),
        (2, 4, 5, 0, 0),
    ],
    ids=str,
)
def test_empty(gather, shape, dim, device):
    *shape, groups = shape
    input, offset = make(shape, groups, device=device)
    output, grad_input, grad_offset = run(gather, input, offset, dim)
    assert output.shape == grad_input.shape == input.shape
    assert grad_offset.shape == offset.shape
    assert (grad_offset == 0).all()


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dim', [1, 2])
def test_long_axis(dim, device):
    shape = (1, 4099, 2, 4) if dim == 1 else (1, 2, 4099, 4)
    tensors = make(shape, 2, torch.float64, device, std=1000)
    assert_close(
        run(axial_deform_gather, *tensors, dim),
        run(torchvision_gather, *tensors, dim),
        rtol=1e-10,
        atol=1e-10,
    )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_is_bitwise_deterministic(gather, dtype, dim, device):
    # Many tokens look at the same few places: their order would show.
    tensors = make((2, 24, 24, 32), 8, dtype, device, std=20)
    expected = run(gather, *tensors, dim)
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 3, 8):
            torch.set_num_threads(number)
            for _ in range(2):
                actual = run(gather, *tensors, dim)
                assert_close(actual, expected, rtol=0, atol=0)
    finally:
        torch.set_num_threads(threads)


def bad_arguments():
    input, offset = torch.zeros(2, 4, 5, 6), torch.zeros(2, 4, 5, 3)
    return {
        'input must be a Tensor.*list': ([1.0], offset, 1),
        'offset must be a Tensor.*NoneType': (input, None, 1),
        r'input must have the 4 dim.*\(4, 5, 6\)': (input[0], offset, 1),
        r'offset must have the 4 dim.*\(4, 5, 3\)': (input, offset[0], 1),
        r'offset must have the same N, H, W.*\(2, 4, 5\).*\(1, 4, 5, 3\)': (
            input,
            offset[:1],
            1,
        ),
        r'offset must have the same N, H, W.*\(2, 5, 4, 3\)': (
            input,
            offset.transpose(1, 2),
            1,
        ),
        'divides the 6 channels.*G=4': (input, torch.zeros(2, 4, 5, 4), 1),
        'divides the 6 channels.*G=0': (input, offset[..., :0], 1),
        'divides the 6 channels.*G=12': (input, torch.zeros(2, 4, 5, 12), 1),
        'input must be of dtype.*int64': (input.long(), offset, 1),
        'offset must be of dtype.*complex64': (input, offset + 0j, 1),
        'input must be of dtype.*bool': (input.bool(), offset, 1),
        'offset must be on the device of input, cpu.*meta': (
            input,
            offset.to('meta'),
            1,
        ),
        'dim must be 1 or -3.*but got 0': (input, offset, 0),
        'dim must be 1 or -3.*but got 3': (input, offset, 3),
        'dim must be 1 or -3.*but got -1': (input, offset, -1),
        'dim must be 1 or -3.*but got -4': (input, offset, -4),
        'dim must be an int.*float': (input, offset, 1.0),
        'dim must be an int.*str': (input, offset, 'w'),
        'dim must be an int.*bool': (input, offset, True),
    }


@pytest.mark.parametrize('message', bad_arguments())
def test_bad_arguments(gather, message):
    with pytest.raises((TypeError, ValueError), match=message):
        gather(*bad_arguments()[message])


@pytest.mark.parametrize(
    'arguments',
    [a for m, a in bad_arguments().items() if 'Tensor' not in m]
    + [(torch.zeros(1, 2, 2, 2).half(), torch.zeros(1, 2, 2, 2).bfloat16(), 1)]
    + [(torch.zeros(1, 2, 2, 2).double(), torch.zeros(1, 2, 2, 2), 1)]
    + [(torch.zeros(1, 2, 2, 2).long(), torch.zeros(1, 2, 2, 2).double(), 1)]
    + [(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2) + 0j, 1)],
    ids=str,
)
def test_kernels_check_arguments(arguments):
    """Whoever calls the dispatcher directly gets an error, not a crash."""
    if isinstance(arguments[2], (bool, float)):
        pytest.skip('the dispatcher converts numbers')
    if isinstance(arguments[2], str):
        with pytest.raises(
            RuntimeError, match="type 'int' for argument 'dim'"
        ):
            OP(*arguments)
        return
    with pytest.raises(KERNEL_ERRORS, match='must'):
        OP(*arguments)
    with pytest.raises(KERNEL_ERRORS, match='must'):
        BACKWARD_OP(arguments[0], *arguments)


@given(
    shape=st.tuples(
        st.integers(0, 3),
        st.integers(1, 9),
        st.integers(1, 9),
        st.integers(1, 12),
        st.integers(1, 9),
    ),
    dim=st.sampled_from([1, 2, -2, -3]),
    input_order=st.permutations([0, 1, 2, 3]),
    offset_order=st.permutations([0, 1, 2, 3]),
    std=st.sampled_from([0.0, 0.7, 5.0, 1e4]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_shape_and_stride(
    shape, dim, input_order, offset_order, std, seed
):
    n, h, w, groups, shared = shape
    input, offset = make(
        (n, h, w, groups * shared), groups, torch.float64, std=std, seed=seed
    )

    def reorder(x, order):
        """Lays the dimensions out in memory in another order."""
        inverse = [order.index(i) for i in range(4)]
        return x.detach().permute(order).contiguous().permute(inverse)

    input = reorder(input, input_order)
    offset = reorder(offset, offset_order)
    actual = run(axial_deform_gather, input, offset, dim)
    reference = run(Reference.apply, input, offset, dim)
    assert_close(actual, reference, rtol=1e-12, atol=1e-12)
    if deform_conv2d and n > 0:  # torchvision takes no empty batch
        expected = run(torchvision_gather, input, offset, dim)
        assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@given(
    input_shape=st.lists(st.integers(0, 4), max_size=5),
    offset_shape=st.lists(st.integers(0, 4), max_size=5),
    dim=st.integers(-6, 6),
    dtypes=st.tuples(
        st.sampled_from([*DTYPES, torch.int32, torch.complex64]),
        st.sampled_from([*DTYPES, torch.uint8, torch.bool]),
    ),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_arguments(input_shape, offset_shape, dim, dtypes):
    """Works where it should and says what is wrong elsewhere."""
    input = torch.zeros(input_shape, dtype=dtypes[0])
    offset = torch.zeros(offset_shape, dtype=dtypes[1])
    fits = (
        len(input_shape) == len(offset_shape) == 4
        and input_shape[:3] == offset_shape[:3]
        and (
            input_shape[3] % offset_shape[3] == 0
            if offset_shape[3]
            else input_shape[3] == 0
        )
        and dim in (1, 2, -2, -3)
        and set(dtypes) <= set(DTYPES)
    )
    if fits:
        output = axial_deform_gather(input, offset, dim)
        assert output.shape == input.shape
        assert output.dtype == input.dtype
    else:
        with pytest.raises((TypeError, ValueError), match='must'):
            axial_deform_gather(input, offset, dim)


# --- PyTorch's subsystems ----------------------------------------------------


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
def test_opcheck(dtype, device):
    for dim in (1, -2):
        input, offset = make((2, 5, 6, 8), 4, dtype, device)
        torch.library.opcheck(OP, (input, offset, dim))
        x, o = input.detach(), offset.detach()
        torch.library.opcheck(BACKWARD_OP, (x, x, o, dim))
        strided = o.repeat(1, 1, 1, 2)[..., :4].requires_grad_()
        torch.library.opcheck(OP, (x, strided, dim))


def test_compile_without_graph_breaks():
    torch._dynamo.reset()
    graphs = []

    def count(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(
        axial_deform_gather, fullgraph=True, dynamic=True, backend=count
    )
    for shape in ((2, 5, 6, 8), (3, 7, 4, 8), (4, 9, 11, 8)):
        tensors = make(shape, 4)
        torch.testing.assert_close(
            compiled(*tensors, 2), axial_deform_gather(*tensors, 2)
        )
    assert len(graphs) == 1  # neither a break nor a recompilation

    compiled = torch.compile(
        axial_deform_gather, fullgraph=True, dynamic=True, backend='aot_eager'
    )
    for shape in ((2, 5, 6, 8), (3, 7, 4, 8)):
        tensors = make(shape, 4)
        assert_close(
            run(compiled, *tensors, 1), run(axial_deform_gather, *tensors, 1)
        )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('half', [torch.bfloat16, torch.float16], ids=str)
def test_compile_under_autocast(half, device):
    torch._dynamo.reset()
    compiled = torch.compile(
        axial_deform_gather, fullgraph=True, backend='aot_eager'
    )
    tensors = make((2, 5, 300, 8), 4, device=device, std=100)
    with torch.autocast(device, dtype=half):
        actual = run(compiled, *tensors, 2)
        expected = run(axial_deform_gather, *tensors, 2)
    assert [t.dtype for t in actual] == [half, torch.float32, torch.float32]
    assert_close(actual, expected, rtol=0, atol=0)


def test_export():
    class Module(torch.nn.Module):
        def forward(self, input, offset):
            return axial_deform_gather(input, offset, 1)

    n, h, w = (torch.export.Dim(name, min=2, max=64) for name in 'nhw')
    shapes = {0: n, 1: h, 2: w}
    with torch.no_grad():
        input, offset = make((2, 5, 6, 8), 4)
        program = torch.export.export(
            Module(), (input, offset), dynamic_shapes=(shapes, shapes)
        )
        targets = [str(node.target) for node in program.graph.nodes]
        assert 'mmactive.axial_deform_gather.default' in targets
        input, offset = make((3, 9, 4, 8), 4)
        torch.testing.assert_close(
            program.module()(input, offset),
            axial_deform_gather(input, offset, 1),
        )


@pytest.mark.skipif(
    not hasattr(torch.library, 'register_vmap'), reason='torch >= 2.5'
)
@pytest.mark.parametrize('in_dims', [(0, 0), (2, 0), (None, 3), (1, None)])
def test_vmap(in_dims):
    (input, offset), batch = make((2, 5, 6, 8), 4), 3

    def batched(x, in_dim):
        if in_dim is None:
            return x.detach()
        return torch.stack([x.detach() + i for i in range(batch)], in_dim)

    input, offset = batched(input, in_dims[0]), batched(offset, in_dims[1])
    actual = torch.func.vmap(
        lambda x, o: axial_deform_gather(x, o, 2), in_dims
    )(input, offset)
    for i in range(batch):
        x = input if in_dims[0] is None else input.select(in_dims[0], i)
        o = offset if in_dims[1] is None else offset.select(in_dims[1], i)
        torch.testing.assert_close(actual[i], axial_deform_gather(x, o, 2))


@pytest.mark.skipif(
    not hasattr(torch.library, 'register_vmap'), reason='torch >= 2.5'
)
@pytest.mark.parametrize(('batch', 'n'), [(0, 2), (3, 0), (0, 0)])
def test_vmap_over_nothing(batch, n):
    input, offset = (torch.empty(batch, n, 5, 6, c) for c in (8, 4))
    gather = torch.func.vmap(lambda x, o: axial_deform_gather(x, o, 2))
    assert gather(input, offset).shape == input.shape


@pytest.mark.skipif(
    not hasattr(torch.library, 'register_vmap'), reason='torch >= 2.5'
)
def test_several_gradients_at_a_time():
    """The backward under vmap: the rows of a Jacobian."""
    input, offset = make((1, 3, 4, 4), 2)
    actual, expected = (
        torch.autograd.functional.jacobian(
            lambda x, o: axial_deform_gather(x, o, 2),
            (input, offset),
            vectorize=vectorize,
        )
        for vectorize in (True, False)
    )
    torch.testing.assert_close(actual, expected)


def test_meta_device():
    # More elements than 32 bits can count, but no memory.
    input = torch.empty(64, 512, 512, 256, device='meta', requires_grad=True)
    offset = torch.empty(64, 512, 512, 64, device='meta', requires_grad=True)
    output = axial_deform_gather(input, offset, 1)
    assert output.shape == input.shape
    assert output.device.type == 'meta'
    output.sum().backward()
    assert input.grad.shape == input.shape
    assert offset.grad.shape == offset.shape


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('half', [torch.bfloat16, torch.float16], ids=str)
def test_autocast(half, device):
    """The input becomes half precision; positions don't."""
    input, offset = make((1, 4, 300, 8), 4, device=device, std=100)
    with torch.autocast(device, dtype=half):
        actual = run(axial_deform_gather, input, offset, 2)
        narrow = axial_deform_gather(input, offset.to(half), 2)
        double = axial_deform_gather(input.double(), offset.double(), 2)
    assert [t.dtype for t in actual] == [half, torch.float32, torch.float32]
    expected = axial_deform_gather(input.to(half), offset, 2)
    torch.testing.assert_close(actual[0], expected.detach(), rtol=0, atol=0)
    # A half offset is used as it is, in positions of float32.
    expected = axial_deform_gather(input.to(half), offset.to(half).float(), 2)
    torch.testing.assert_close(narrow, expected, rtol=0, atol=0)
    assert double.dtype == torch.float64  # as everywhere in autocast


def test_no_second_derivative():
    input, offset = make((1, 3, 4, 2), 1)
    output = axial_deform_gather(input, offset, 1)
    (grad,) = torch.autograd.grad(output.sum(), offset, create_graph=True)
    with pytest.raises(NotImplementedError, match='no second derivative'):
        grad.sum().backward()


@pytest.mark.parametrize('which', [0, 1])
def test_gradient_of_one_input_only(which):
    tensors = make((2, 5, 6, 8), 4)
    expected = run(axial_deform_gather, *tensors, 1)[1 + which]
    alone = [t.detach() for t in tensors]
    alone[which].requires_grad_()
    output = axial_deform_gather(*alone, 1)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    output.backward(grad.float())
    torch.testing.assert_close(alone[which].grad, expected)
    assert alone[1 - which].grad is None


def test_works_without_extension_and_openmmlab(tmp_path):
    """With PyTorch alone and nothing built: the reference, one warning."""
    site = tmp_path / 'site'
    site.mkdir()
    for entry in Path(torch.__file__).parents[1].iterdir():
        if not entry.name.lower().startswith(('mm', 'onedl', '__editable__')):
            (site / entry.name).symlink_to(entry)
    package = tmp_path / 'source' / 'mmactive'
    package.mkdir(parents=True)
    source = Path(__file__).parents[2] / 'mmactive'
    for entry in source.iterdir():
        if entry.name not in ('_ext.so', '.mim', '__pycache__'):
            (package / entry.name).symlink_to(entry)
    # Python would follow the link of ops to the folder that has _ext.so.
    (package / 'ops').unlink()
    (package / 'ops').mkdir()
    for entry in (source / 'ops').glob('*.py'):
        (package / 'ops' / entry.name).write_text(entry.read_text())

    code = (
        'import torch, sys\n'
        'from mmactive.ops import axial_deform_gather\n'
        "assert 'mmengine' not in sys.modules\n"
        'x = torch.randn(1, 4, 5, 6, requires_grad=True)\n'
        'o = torch.randn(1, 4, 5, 3, requires_grad=True)\n'
        'axial_deform_gather(x, o, 1).sum().backward()\n'
        'axial_deform_gather(x, o, 2).sum().backward()\n'
        'print(torch.isfinite(o.grad).all().item())\n'
    )
    process = subprocess.run(
        [sys.executable, '-S', '-W', 'always::UserWarning', '-c', code],
        env={
            **os.environ,
            'PYTHONPATH': os.pathsep.join([str(package.parent), str(site)]),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == 'True'
    assert process.stderr.count('pip install -v -e .') == 1
    assert 'collect_env' in process.stderr
