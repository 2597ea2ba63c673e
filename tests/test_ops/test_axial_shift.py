# Copyright (c) mmactive contributors. All rights reserved.
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_axial_deform_gather import KERNEL_ERRORS

from mmactive.ops import axial_shift, axial_shift_reference
from mmactive.ops.axial_shift import _backward_reference

OPS = torch.ops.mmactive
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.cuda)]


def make(*shape, dtype=torch.float32, device='cpu', seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x.to(device, dtype).requires_grad_()


def define(input, shifts, dim, border=False):
    """The definition of the operator, a number at a time."""
    output = 0 * input
    length = input.size(dim)
    for c, shift in enumerate(shifts):
        for position in range(length):
            source = position + shift
            if border:
                source = min(max(source, 0), length - 1)
            if 0 <= source < length:
                output.select(dim, position)[..., c] = input.select(
                    dim, source
                )[..., c]
    return output


def run(function, input, grad, *args):
    input = input.detach().requires_grad_()
    output = function(input, *args)
    (grad_input,) = torch.autograd.grad(output, input, grad)
    return output, grad_input


@given(
    shape=st.tuples(
        *[st.integers(1, 2)], *[st.integers(1, 7)] * 2, st.integers(1, 20)
    ),
    dim=st.sampled_from([1, 2, -2, -3]),
    padding_mode=st.sampled_from(['zeros', 'border']),
    dtype=st.sampled_from(DTYPES),
    data=st.data(),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_equals_the_definition(shape, dim, padding_mode, dtype, data):
    check(shape, dim, padding_mode, dtype, data, 'cpu')


@pytest.mark.cuda
@given(
    shape=st.tuples(
        st.integers(1, 3), *[st.integers(1, 40)] * 2, st.integers(1, 1100)
    ),
    dim=st.sampled_from([1, 2]),
    padding_mode=st.sampled_from(['zeros', 'border']),
    dtype=st.sampled_from(DTYPES),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_cuda_equals_the_definition(shape, dim, padding_mode, dtype, data):
    check(shape, dim, padding_mode, dtype, data, 'cuda')


def check(shape, dim, padding_mode, dtype, data, device):
    few = st.integers(-3, 3) | st.sampled_from([-(2**40), 9, 2**40])
    shifts = data.draw(
        st.lists(few, min_size=shape[-1], max_size=shape[-1])
        | st.lists(few, min_size=1, max_size=4).map(
            lambda pattern: (pattern * shape[-1])[: shape[-1]]
        )
        | st.lists(few, min_size=1, max_size=4).map(
            lambda chunks: [
                chunks[c * len(chunks) // shape[-1]] for c in range(shape[-1])
            ]
        )
    )
    input = make(*shape, dtype=dtype, device=device)
    grad = make(*shape, dtype=dtype, device=device, seed=1).detach()
    border = padding_mode == 'border'
    actual = run(axial_shift, input, grad, shifts, dim, padding_mode)
    assert actual[0].dtype == actual[1].dtype == dtype
    expected = run(define, input.double(), grad.double(), shifts, dim, border)
    assert torch.equal(actual[0].double(), expected[0])
    # Sums are rounded once.
    torch.testing.assert_close(
        actual[1].double(),
        expected[1],
        rtol=torch.finfo(dtype).eps,
        atol=1e-5 if dtype != torch.float64 else 1e-12,
    )
    assert torch.equal(
        axial_shift_reference(input, shifts, dim, border), actual[0]
    )
    torch.testing.assert_close(
        _backward_reference(grad, shifts, dim, border), actual[1]
    )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dim', [1, 2])
def test_equals_deform_conv2d(dim, device):
    """With an identity kernel, and as many offset groups as channels."""
    ops = pytest.importorskip('torchvision.ops')
    shifts = [0, 1, -1, 2, -3, 0, 1]
    input = make(2, 6, 5, 7, device=device)
    grad = make(2, 6, 5, 7, device=device, seed=1).detach()
    offset = torch.zeros(2, 7, 2, 6, 5, device=device)
    values = torch.tensor(shifts, device=device, dtype=torch.float32)
    offset[:, :, dim - 1] = values[:, None, None]

    def gather(x):
        weight = torch.eye(7, device=device)[:, :, None, None]
        x = x.permute(0, 3, 1, 2)
        x = ops.deform_conv2d(x, offset.flatten(1, 2), weight)
        return x.permute(0, 2, 3, 1)

    torch.testing.assert_close(
        run(axial_shift, input, grad, shifts, dim), run(gather, input, grad)
    )


@pytest.mark.parametrize('device', DEVICES)
def test_equals_pad_chunk_roll(device):
    """The formulation of AS-MLP, on images (N, C, H, W)."""
    images = make(2, 13, 9, 8, device=device)
    shifts = [2 - c // 3 for c in range(13)]
    padded = F.pad(images, (2, 2, 2, 2)).chunk(5, 1)
    for dim in (2, 3):
        rolled = [
            torch.roll(x, shift, dim) for x, shift in zip(padded, range(-2, 3))
        ]
        expected = torch.cat(rolled, 1)[:, :, 2:-2, 2:-2]
        actual = axial_shift(images.permute(0, 2, 3, 1), shifts, dim - 1)
        assert torch.equal(actual.permute(0, 3, 1, 2), expected)


@pytest.mark.parametrize('padding_mode', ['zeros', 'border'])
@pytest.mark.parametrize('dim', [1, 2])
def test_gradients_of_any_order(dim, padding_mode):
    input = make(2, 4, 3, 6, dtype=torch.float64)

    def function(x):
        return axial_shift(x, [0, 1, -1, 2, -4, 9], dim, padding_mode)

    assert torch.autograd.gradcheck(function, input)
    assert torch.autograd.gradgradcheck(function, input)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('border', [False, True])
def test_registration(border, device):
    """Schemas, shape rules, autograd and tracing, by PyTorch's own checks."""
    input = make(2, 4, 3, 6, device=device).permute(0, 2, 1, 3)
    for operator in (OPS.axial_shift, OPS.axial_shift_backward):
        torch.library.opcheck(
            operator.default, (input, [0, 1, -1, 1, -4, 9], 2, border)
        )


def test_is_compiled():
    """Else the tests would pass with the slower reference."""
    dump = torch._C._dispatch_dump('mmactive::axial_shift')
    assert '\nCPU:' in dump


@pytest.mark.skipif(
    not hasattr(torch.library, 'register_vmap'), reason='torch < 2.5'
)
def test_vmap():
    input = make(3, 2, 4, 5, 6).detach()
    shifts = [0, 1, -1, 2, -2, 7]

    def function(x):
        return axial_shift(x, shifts, 2, 'border')

    expected = torch.stack([function(x) for x in input])
    assert torch.equal(torch.vmap(function)(input), expected)
    actual = torch.vmap(function, in_dims=3)(input.movedim(0, 3))
    assert torch.equal(actual, expected)
    backward = torch.vmap(
        lambda x: OPS.axial_shift_backward(x, shifts, 2, True)
    )
    assert torch.equal(
        backward(input)[1],
        OPS.axial_shift_backward(input[1], shifts, 2, True),
    )


def test_autocast_moves_what_is_there():
    input = make(1, 3, 4, 2)
    with torch.autocast('cpu', torch.bfloat16):
        assert axial_shift(input, [1, 0], 2).dtype == torch.float32
        assert axial_shift(input.half(), [1, 0], 2).dtype == torch.float16


@pytest.mark.parametrize('backend', ['eager', 'aot_eager'])
def test_compile(backend):
    torch._dynamo.reset()

    def function(x):
        return axial_shift(x * 2, [1, 0, -1], 1).sin()

    compiled = torch.compile(function, fullgraph=True, backend=backend)
    for size in (4, 5, 6):
        input = make(1, size, 3, 3)
        grad = torch.ones(1, size, 3, 3)
        torch.testing.assert_close(
            run(compiled, input, grad), run(function, input, grad)
        )


def test_meta_and_empty():
    input = torch.zeros(2, 3, 4, 5, device='meta').permute(0, 2, 1, 3)
    output = axial_shift(input, [0] * 5, 1)
    assert output.device.type == 'meta'
    assert output.shape == (2, 4, 3, 5)
    assert output.is_contiguous()
    for shape in ((0, 3, 4, 2), (2, 0, 4, 2), (2, 3, 0, 2), (2, 3, 4, 0)):
        for mode in ('zeros', 'border'):
            x = torch.zeros(shape, requires_grad=True)
            output = axial_shift(x, [1, -1][: shape[-1]], 2, mode)
            assert output.shape == shape
            output.sum().backward()
            assert x.grad.shape == shape


@pytest.mark.parametrize(
    ('error', 'message', 'arguments'),
    [
        (TypeError, 'input must be a Tensor.*list', ([1.0], [1], 1)),
        (
            TypeError,
            'input.*torch.int64',
            (torch.ones(1, 1, 1, 1).long(), [1], 1),
        ),
        (
            ValueError,
            r'\(N, H, W, C\).*\(2, 3\)',
            (torch.ones(2, 3), [1] * 3, 1),
        ),
        (ValueError, '2 channels of input, but got 3', ('x', [1] * 3, 1)),
        (TypeError, 'shifts must be a list of ints', ('x', [1.0, 2.0], 1)),
        (TypeError, 'shifts must be a list of ints', ('x', 'ab', 1)),
        (TypeError, 'dim must be an int, but got float', ('x', [1, 2], 1.0)),
        (ValueError, 'dim must be 1 or -3.*but got 3', ('x', [1, 2], 3)),
        (
            ValueError,
            "padding_mode must be one of.*'wrap'",
            ('x', [1, 2], 1, 'wrap'),
        ),
    ],
    ids=str,
)
def test_bad_arguments(error, message, arguments):
    x = torch.ones(1, 2, 3, 2)
    arguments = (
        [x if value == 'x' else value for value in arguments[:1]]
        + [*arguments[1:]]
        if isinstance(arguments[0], str)
        else arguments
    )
    with pytest.raises(error, match=message):
        axial_shift(*arguments)


def test_the_kernel_checks_its_arguments():
    x = torch.ones(1, 2, 3, 2)
    for operator in (OPS.axial_shift, OPS.axial_shift_backward):
        for arguments, message in (
            ((x[0], [1, 1], 1, False), r'must be \(N, H, W, C\)'),
            ((x, [1], 1, False), '2 channels of input, but got 1'),
            ((x, [1, 1], 0, False), 'dim must be 1, 2, -3 or -2'),
            ((x.long(), [1, 1], 1, False), 'input must be of dtype'),
        ):
            with pytest.raises(KERNEL_ERRORS, match=message):
                operator(*arguments)
