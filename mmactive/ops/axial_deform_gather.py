# Copyright (c) mmactive contributors. All rights reserved.
"""Gathers every channel from its own position along one spatial axis.

The operator ``mmactive::axial_deform_gather`` is known to PyTorch's dispatcher
under one name on every backend. This file holds its public function, argument
checks, PyTorch reference, shape rules (meta device, tracing), autograd,
autocast and vmap; the compiled kernels are in ``csrc/cpu`` and ``csrc/cuda``.
"""

from typing import Tuple

import torch
from torch import Tensor

from .extension import load_extension

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def axial_deform_gather(input: Tensor, offset: Tensor, dim: int) -> Tensor:
    r"""Samples each channel at ``position + offset`` along one axis.

    This is the token recomposition of ATM, Eq. (2) of the paper `ActiveMLP: An
    MLP-like Architecture with Active Token Mixer
    <https://arxiv.org/abs/2203.06108>`_, with offsets that are learned and
    hence fractional. For ``dim=2`` and channel :math:`c` in group
    :math:`g = \lfloor c / (C / G) \rfloor`

    .. math::
        p = w + \mathrm{offset}_{n,h,w,g}, \quad
        l = \lfloor p \rfloor, \quad
        \mathrm{output}_{n,h,w,c} =
            (1 - (p - l)) \, \mathrm{input}_{n,h,l,c} +
            (p - l) \, \mathrm{input}_{n,h,l+1,c}

    where a neighbour outside of the axis counts as zero, and likewise along
    the height for ``dim=1``. It equals ``torchvision.ops.deform_conv2d`` with
    a 1x1 identity kernel and one offset group a channel.

    At the borders: for :math:`p \le -1` and :math:`p \ge` length, hence for
    infinite and huge offsets, the output and all gradients are zero. (At
    exactly :math:`p = -1`, a kink, torchvision returns the right-hand
    derivative for the offset.) At an integer :math:`p` inside, the gradient of
    the offset is the right-hand derivative. A NaN offset makes the output and
    the gradient of that offset NaN and adds nothing to the gradient of
    ``input``. As in torchvision, both neighbours are weighted, so that a
    non-finite value with a weight of zero gives NaN.

    Output and gradients are bitwise reproducible: from run to run on the same
    machine, and on CPUs for any number of threads. Other batch sizes or other
    models of GPU or CPU may sum gradients in another order.

    There is no second derivative. ``torch.func.vmap`` works, but
    ``torch.func.grad`` does not, as for every operator whose derivative is
    registered by ``torch.library.register_autograd``: use
    ``torch.autograd.grad``, for several gradients at a time with
    ``is_grads_batched=True``. Nor is there forward-mode differentiation:
    PyTorch takes the output of such an operator for a constant, without an
    error.

    Args:
        input (Tensor): Tokens of shape (N, H, W, C), in any memory layout, of
            dtype float32, float64, bfloat16 or float16.
        offset (Tensor): Offsets in tokens, of shape (N, H, W, G), of any of
            these dtypes. ``G`` divides ``C``; each offset serves ``C / G``
            neighbouring channels. A dtype wider than that of ``input`` is
            kept: sub-token positions on axes of hundreds of tokens need
            float32. A narrower one is promoted.
        dim (int): The axis to move along: 1 or -3 (vertical) or 2 or -2
            (horizontal).

    Returns:
        Tensor: Shape (N, H, W, C), contiguous, of the dtype of ``input``.
        Under autocast ``input`` is cast to the autocast dtype. Positions and
        interpolation are always computed in at least float32.

    Raises:
        TypeError: If an argument is not a tensor, has an unsupported dtype, or
            ``dim`` is not an integer.
        ValueError: If the shapes or devices do not fit or ``dim`` is not a
            spatial axis.

    Example:
        >>> tokens = torch.tensor([1., 2., 4., 8.]).view(1, 1, 4, 1)
        >>> offset = torch.tensor([1., 0.5, -1.25, 1.]).view(1, 1, 4, 1)
        >>> axial_deform_gather(tokens, offset, dim=2).flatten()
        tensor([2.0000, 3.0000, 1.7500, 0.0000])
    """
    if torch.onnx.is_in_onnx_export():
        # Of ONNX's own operators, since no runtime knows this one.
        return axial_deform_gather_reference(input, offset, dim)
    _check_arguments(input, offset, dim)
    promoted = torch.promote_types(input.dtype, offset.dtype)
    return torch.ops.mmactive.axial_deform_gather(
        input, offset.to(promoted), dim
    )


def _check_arguments(input: Tensor, offset: Tensor, dim: int) -> None:
    """Raises an error that names the argument that does not fit."""
    for name, tensor in (('input', input), ('offset', offset)):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f'{name} must be a Tensor, but got {type(tensor).__name__}'
            )
        if tensor.dtype not in _DTYPES:
            raise TypeError(
                f'{name} must be of dtype float32, float64, bfloat16 or '
                f'float16, but got {tensor.dtype}'
            )
        if tensor.dim() != 4:
            shape = '(N, H, W, C)' if name == 'input' else '(N, H, W, G)'
            raise ValueError(
                f'{name} must have the 4 dimensions {shape}, but got shape '
                f'{tuple(tensor.shape)}'
            )
    if not isinstance(dim, (int, torch.SymInt)) or isinstance(dim, bool):
        raise TypeError(f'dim must be an int, but got {type(dim).__name__}')
    if dim not in (1, 2, -3, -2):
        raise ValueError(
            'dim must be 1 or -3 (vertical) or 2 or -2 (horizontal) of '
            f'(N, H, W, C), but got {dim}'
        )
    if input.shape[:3] != offset.shape[:3]:
        raise ValueError(
            'offset must have the same N, H, W as input, '
            f'{tuple(input.shape[:3])}, but got shape {tuple(offset.shape)}'
        )
    channels, groups = input.size(3), offset.size(3)
    # No channels need no offsets.
    if channels % groups if groups else channels:
        raise ValueError(
            f'offset must have a number of groups G that divides the '
            f'{channels} channels of input, but got G={groups}'
        )
    if input.device != offset.device:
        raise ValueError(
            f'offset must be on the device of input, {input.device}, but got '
            f'{offset.device}'
        )


# -----------------------------------------------------------------------------
# The PyTorch reference: the definition that every kernel is tested against,
# and what runs where no kernel was built.
# -----------------------------------------------------------------------------


def _neighbours(
    input: Tensor, offset: Tensor, dim: int
) -> Tuple[Tensor, Tuple[Tensor, Tensor], Tuple[Tensor, Tensor]]:
    """Locates the two neighbours of every sampling position.

    Returns:
        tuple: The weight of the upper neighbour, the indices of the lower and
        the upper one (clamped into the axis) and whether they lie on the axis,
        all of shape (N, H, W, C).
    """
    length = input.size(dim)
    dtype = torch.promote_types(offset.dtype, torch.float32)
    index = torch.arange(length, device=input.device, dtype=dtype)
    index = index.view(-1, 1, 1) if dim % 4 == 1 else index.view(-1, 1)
    position = index + offset.to(dtype)
    position = position.repeat_interleave(
        input.size(3) // offset.size(3), dim=3
    )

    inside = (position > -1) & (position < length)
    lower = position.where(inside, 0).floor()
    # Keeps the NaN of a NaN offset, but drops that of inf - inf.
    fraction = (position - lower).where(inside | position.isnan(), 0)
    indices = (
        lower.clamp(min=0).long(),
        (lower + 1).clamp(max=length - 1).long(),
    )
    exist = (inside & (lower >= 0), inside & (lower < length - 1))
    return fraction, indices, exist


def axial_deform_gather_reference(
    input: Tensor, offset: Tensor, dim: int
) -> Tensor:
    """:func:`axial_deform_gather` in terms of PyTorch's own operators.

    Slow, on every device. The arguments are those of
    :func:`axial_deform_gather`.

    Returns:
        Tensor: Shape (N, H, W, C), of the dtype of ``input``.
    """
    _check_arguments(input, offset, dim)
    if input.numel() == 0:
        return input.new_empty(input.shape)
    fraction, indices, exist = _neighbours(input, offset, dim)
    lower, upper = (
        input.gather(dim, index).to(fraction.dtype).where(exists, 0)
        for index, exists in zip(indices, exist)
    )
    return ((1 - fraction) * lower + fraction * upper).to(input.dtype)


def _backward_reference(
    grad_output: Tensor, input: Tensor, offset: Tensor, dim: int
) -> Tuple[Tensor, Tensor]:
    """Gradients of ``input`` and ``offset``, each of its tensor's dtype."""
    _check_arguments(input, offset, dim)
    if input.numel() == 0:
        return input.new_zeros(input.shape), offset.new_zeros(offset.shape)
    fraction, indices, exist = _neighbours(input, offset, dim)
    grad_output = grad_output.to(fraction.dtype)

    lower, upper = (
        input.gather(dim, index).to(fraction.dtype).where(exists, 0)
        for index, exists in zip(indices, exist)
    )
    # 0 * fraction passes on the NaN of a NaN offset.
    grad_offset = grad_output * (upper - lower + 0 * fraction)
    grad_offset = grad_offset.unflatten(3, (offset.size(3), -1)).sum(dim=4)

    grad_input = torch.zeros_like(
        grad_output, memory_format=torch.contiguous_format
    )
    for weight, index, exists in zip((1 - fraction, fraction), indices, exist):
        _deterministic_scatter_add(
            grad_input, dim, index, (weight * grad_output).where(exists, 0)
        )
    return grad_input.to(input.dtype), grad_offset.to(offset.dtype)


def _deterministic_scatter_add(
    output: Tensor, dim: int, index: Tensor, values: Tensor
) -> None:
    """``output.scatter_add_(dim, index, values)``, reproducible everywhere."""
    if output.device.type == 'cpu':
        output.scatter_add_(dim, index, values)
        return
    # Elsewhere scatter_add_ uses atomics, but index_put_ sorts the indices.
    coordinates = list(
        torch.meshgrid(
            *(torch.arange(n, device=output.device) for n in output.shape),
            indexing='ij',
        )
    )
    coordinates[dim] = index
    output.index_put_(tuple(coordinates), values, accumulate=True)


# -----------------------------------------------------------------------------
# Registration
# -----------------------------------------------------------------------------

_LIBRARY = torch.library.Library('mmactive', 'FRAGMENT')
_FORWARD = 'mmactive::axial_deform_gather'
_BACKWARD = 'mmactive::axial_deform_gather_backward'

if not load_extension():
    # The same schemas as in csrc/axial_deform_gather.cpp.
    _LIBRARY.define(
        'axial_deform_gather(Tensor input, Tensor offset, int dim) -> Tensor'
    )
    _LIBRARY.define(
        'axial_deform_gather_backward(Tensor grad_output, Tensor input, '
        'Tensor offset, int dim) -> (Tensor, Tensor)'
    )

# Serves the devices without a kernel of their own.
_LIBRARY.impl(
    'axial_deform_gather',
    axial_deform_gather_reference,
    'CompositeExplicitAutograd',
)
_LIBRARY.impl(
    'axial_deform_gather_backward',
    _backward_reference,
    'CompositeExplicitAutograd',
)


@torch.library.register_fake(_FORWARD)
def _forward_fake(input: Tensor, offset: Tensor, dim: int) -> Tensor:
    _check_arguments(input, offset, dim)
    return input.new_empty(input.shape)


@torch.library.register_fake(_BACKWARD)
def _backward_fake(
    grad_output: Tensor, input: Tensor, offset: Tensor, dim: int
) -> Tuple[Tensor, Tensor]:
    _check_arguments(input, offset, dim)
    return input.new_empty(input.shape), offset.new_empty(offset.shape)


def _forward_setup_context(ctx, inputs, output) -> None:
    input, offset, ctx.dim = inputs
    ctx.save_for_backward(input, offset)


def _forward_autograd(ctx, grad_output: Tensor):
    input, offset = ctx.saved_tensors
    grads = torch.ops.mmactive.axial_deform_gather_backward(
        grad_output, input, offset, ctx.dim
    )
    return (*grads, None)


def _backward_autograd(ctx, *grads):
    raise NotImplementedError(
        'axial_deform_gather has no second derivative: call backward() or '
        'torch.autograd.grad() with create_graph=False'
    )


torch.library.register_autograd(
    _FORWARD, _forward_autograd, setup_context=_forward_setup_context
)
torch.library.register_autograd(_BACKWARD, _backward_autograd)


def _register_autocast(device: str) -> None:
    """Casts the input to autocast's dtype, but not the offset.

    bfloat16 and float16 can't tell neighbouring positions apart on axes of
    hundreds of tokens, so positions stay in float32.
    """
    key = getattr(torch._C.DispatchKey, f'Autocast{device.upper()}')

    def autocast(input: Tensor, offset: Tensor, dim: int) -> Tensor:
        if input.dtype != torch.float64:  # as autocast does everywhere
            input = input.to(torch.get_autocast_dtype(device))
        offset = offset.to(torch.promote_types(offset.dtype, torch.float32))
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(key)):
            return torch.ops.mmactive.axial_deform_gather(input, offset, dim)

    _LIBRARY.impl('axial_deform_gather', autocast, key.name)


for _device in ('cpu', 'cuda'):
    _register_autocast(_device)


def _batched(batch_size: int, in_dims: tuple, *tensors: Tensor):
    """Folds the dimension that vmap maps over into N."""
    for in_dim, tensor in zip(in_dims, tensors):
        if in_dim is None:
            tensor = tensor.expand(batch_size, *tensor.shape)
        else:
            tensor = tensor.movedim(in_dim, 0)
        yield tensor.flatten(0, 1)


def _unbatched(batch_size: int, tensor: Tensor, like: Tensor, in_dim: int):
    """Undoes :func:`_batched`; unlike ``unflatten``, for an empty N too."""
    size = like.size(1 if in_dim == 0 else 0)
    return tensor.view(batch_size, size, *tensor.shape[1:])


def _forward_vmap(info, in_dims, input, offset, dim):
    tensors = _batched(info.batch_size, in_dims, input, offset)
    output = torch.ops.mmactive.axial_deform_gather(*tensors, dim)
    return _unbatched(info.batch_size, output, input, in_dims[0]), 0


def _backward_vmap(info, in_dims, grad_output, input, offset, dim):
    tensors = _batched(info.batch_size, in_dims, grad_output, input, offset)
    grads = torch.ops.mmactive.axial_deform_gather_backward(*tensors, dim)
    return tuple(
        _unbatched(info.batch_size, grad, input, in_dims[1]) for grad in grads
    ), (0, 0)


if hasattr(torch.library, 'register_vmap'):  # torch >= 2.5
    torch.library.register_vmap(_FORWARD, _forward_vmap)
    torch.library.register_vmap(_BACKWARD, _backward_vmap)
