# Copyright (c) mmactive contributors. All rights reserved.
"""Shifts every channel by a fixed number of positions along one spatial axis.

The operator ``mmactive::axial_shift`` is known to PyTorch's dispatcher under
one name on every backend. This file holds its public function, argument
checks, PyTorch reference, shape rules (meta device, tracing), autograd and
vmap; the compiled kernels are in ``csrc/cpu`` and ``csrc/cuda``.
"""

from typing import List, Sequence

import torch
from torch import Tensor

from .extension import load_extension

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_PADDING_MODES = ('zeros', 'border')


def axial_shift(
    input: Tensor,
    shifts: Sequence[int],
    dim: int,
    padding_mode: str = 'zeros',
) -> Tensor:
    r"""Reads each channel ``shifts[c]`` positions further along one axis.

    The token mixers of CycleMLP, AS-MLP, ShiftViT and S2-MLP. For ``dim=2``

    .. math::
        \mathrm{output}_{n,h,w,c} = \mathrm{input}_{n,h,w+\mathrm{shifts}_c,c}

    and likewise along the height for ``dim=1``. It is
    :func:`axial_deform_gather` with whole-numbered offsets that are the same
    at all positions, which are not stored then.

    It can be differentiated any number of times. Output and gradients are
    bitwise reproducible.

    Args:
        input (Tensor): Tokens of shape (N, H, W, C), in any memory layout, of
            dtype float32, float64, bfloat16 or float16.
        shifts (Sequence[int]): Number of positions for each of the C channels;
            positive ones read further down or to the right.
        dim (int): The axis to move along: 1 or -3 (vertical) or 2 or -2
            (horizontal).
        padding_mode (str): What is read outside of the axis: 'zeros', or its
            nearest position for 'border'. Defaults to 'zeros'.

    Returns:
        Tensor: Shape (N, H, W, C), contiguous, of the dtype of ``input``, also
        under autocast.

    Raises:
        TypeError: If ``input`` is not a tensor of a supported dtype, or
            ``shifts`` or ``dim`` are not integers.
        ValueError: If the shapes do not fit, ``dim`` is not a spatial axis or
            ``padding_mode`` is unknown.

    Example:
        >>> tokens = torch.tensor([[1., 1.], [2., 2.], [4., 4.]])
        >>> axial_shift(tokens.view(1, 1, 3, 2), [1, -1], dim=2).squeeze()
        tensor([[2., 0.],
                [4., 1.],
                [0., 2.]])
    """
    if padding_mode not in _PADDING_MODES:
        raise ValueError(
            f'padding_mode must be one of {_PADDING_MODES}, but got '
            f'{padding_mode!r}'
        )
    _check_arguments(input, shifts, dim)
    if torch.onnx.is_in_onnx_export():
        # Of ONNX's own operators, since no runtime knows this one.
        border = padding_mode == 'border'
        return axial_shift_reference(input, shifts, dim, border)
    return torch.ops.mmactive.axial_shift(
        input, shifts, dim, padding_mode == 'border'
    )


def _check_arguments(input: Tensor, shifts: Sequence[int], dim: int) -> None:
    """Raises an error that names the argument that does not fit."""
    if not isinstance(input, Tensor):
        raise TypeError(
            f'input must be a Tensor, but got {type(input).__name__}'
        )
    if input.dtype not in _DTYPES:
        raise TypeError(
            'input must be of dtype float32, float64, bfloat16 or float16, '
            f'but got {input.dtype}'
        )
    if input.dim() != 4:
        raise ValueError(
            'input must have the 4 dimensions (N, H, W, C), but got shape '
            f'{tuple(input.shape)}'
        )
    if not isinstance(shifts, (list, tuple)) or not all(
        isinstance(shift, int) for shift in shifts
    ):
        raise TypeError(f'shifts must be a list of ints, but got {shifts!r}')
    if len(shifts) != input.size(3):
        raise ValueError(
            f'shifts must have a number for each of the {input.size(3)} '
            f'channels of input, but got {len(shifts)}'
        )
    if not isinstance(dim, int) or isinstance(dim, bool):
        raise TypeError(f'dim must be an int, but got {type(dim).__name__}')
    if dim not in (1, 2, -3, -2):
        raise ValueError(
            'dim must be 1 or -3 (vertical) or 2 or -2 (horizontal) of '
            f'(N, H, W, C), but got {dim}'
        )


# -----------------------------------------------------------------------------
# The PyTorch reference: the definition that every kernel is tested against,
# and what runs where no kernel was built.
# -----------------------------------------------------------------------------


def axial_shift_reference(
    input: Tensor, shifts: Sequence[int], dim: int, border: bool = False
) -> Tensor:
    """:func:`axial_shift` in terms of PyTorch's own operators.

    Args:
        input (Tensor): See :func:`axial_shift`.
        shifts (Sequence[int]): See :func:`axial_shift`.
        dim (int): See :func:`axial_shift`.
        border (bool): Whether the padding mode is 'border'.

    Returns:
        Tensor: Shape (N, H, W, C), of the dtype of ``input``.
    """
    _check_arguments(input, shifts, dim)
    length = input.size(dim)
    output = input.new_empty(input.shape)
    if input.numel() == 0:
        return output
    position = torch.arange(length, device=input.device)
    channels = torch.tensor(shifts, device=input.device)
    for shift in sorted(set(shifts)):
        index = position + shift
        moved = input.index_select(dim, index.clamp(0, length - 1))
        if not border:
            inside = (index >= 0) & (index < length)
            inside = inside.view(-1, *[1] * (3 - dim % 4))
            moved = moved.where(inside, 0)
        output = moved.where(channels == shift, output)
    return output


def _backward_reference(
    grad_output: Tensor, shifts: Sequence[int], dim: int, border: bool
) -> Tensor:
    """Gradient of the input, of the dtype of ``grad_output``."""
    _check_arguments(grad_output, shifts, dim)
    back = [-shift for shift in shifts]
    grad_input = axial_shift_reference(grad_output, back, dim)
    if not border or grad_output.numel() == 0:
        return grad_input
    # What was read from the border instead of from outside.
    length = grad_output.size(dim)
    channels = torch.tensor(shifts, device=grad_output.device)
    dtype = torch.promote_types(grad_output.dtype, torch.float32)
    for shift in sorted(set(shifts) - {0}):
        size = min(abs(shift), length)
        outside = grad_output.narrow(
            dim, length - size if shift > 0 else 0, size
        )
        nearest = grad_input.narrow(dim, length - 1 if shift > 0 else 0, 1)
        total = outside.sum(dim, keepdim=True, dtype=dtype) + nearest
        nearest.copy_(
            total.to(nearest.dtype).where(channels == shift, nearest)
        )
    return grad_input


# -----------------------------------------------------------------------------
# Registration
# -----------------------------------------------------------------------------

_LIBRARY = torch.library.Library('mmactive', 'FRAGMENT')
_FORWARD = 'mmactive::axial_shift'
_BACKWARD = 'mmactive::axial_shift_backward'

load_extension()
if not hasattr(torch.ops.mmactive, 'axial_shift'):
    # The same schemas as in csrc/axial_shift.cpp.
    _LIBRARY.define(
        'axial_shift(Tensor input, int[] shifts, int dim, bool border) -> '
        'Tensor'
    )
    _LIBRARY.define(
        'axial_shift_backward(Tensor grad_output, int[] shifts, int dim, bool '
        'border) -> Tensor'
    )

# Serves the devices without a kernel of their own.
_LIBRARY.impl(
    'axial_shift', axial_shift_reference, 'CompositeExplicitAutograd'
)
_LIBRARY.impl(
    'axial_shift_backward', _backward_reference, 'CompositeExplicitAutograd'
)


@torch.library.register_fake(_FORWARD)
def _forward_fake(
    input: Tensor, shifts: List[int], dim: int, border: bool
) -> Tensor:
    _check_arguments(input, shifts, dim)
    return input.new_empty(input.shape)


@torch.library.register_fake(_BACKWARD)
def _backward_fake(
    grad_output: Tensor, shifts: List[int], dim: int, border: bool
) -> Tensor:
    _check_arguments(grad_output, shifts, dim)
    return grad_output.new_empty(grad_output.shape)


def _setup_context(ctx, inputs, output) -> None:
    _, *ctx.arguments = inputs


# The operator is linear: each of the two is the derivative of the other.


def _forward_autograd(ctx, grad_output: Tensor):
    backward = torch.ops.mmactive.axial_shift_backward
    return backward(grad_output, *ctx.arguments), None, None, None


def _backward_autograd(ctx, grad: Tensor):
    forward = torch.ops.mmactive.axial_shift
    return forward(grad, *ctx.arguments), None, None, None


torch.library.register_autograd(
    _FORWARD, _forward_autograd, setup_context=_setup_context
)
torch.library.register_autograd(
    _BACKWARD, _backward_autograd, setup_context=_setup_context
)


def _vmap(operator, info, in_dims, input, *arguments):
    """Folds the dimension that vmap maps over into N."""
    input = input.movedim(in_dims[0], 0)
    output = operator(input.flatten(0, 1), *arguments)
    return output.view(input.shape), 0


def _forward_vmap(info, in_dims, *arguments):
    operator = torch.ops.mmactive.axial_shift
    return _vmap(operator, info, in_dims, *arguments)


def _backward_vmap(info, in_dims, *arguments):
    operator = torch.ops.mmactive.axial_shift_backward
    return _vmap(operator, info, in_dims, *arguments)


if hasattr(torch.library, 'register_vmap'):  # torch >= 2.5
    torch.library.register_vmap(_FORWARD, _forward_vmap)
    torch.library.register_vmap(_BACKWARD, _backward_vmap)
