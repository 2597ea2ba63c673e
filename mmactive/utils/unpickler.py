# Copyright (c) mmactive contributors. All rights reserved.
"""Reads the pickles of checkpoints, and builds numbers out of them only.

A pickle is a program that calls functions by their names. The reader here
looks none of them up: the names that checkpoints of PyTorch and mmengine hold
stand for functions of this module, which check every value that they are
given. Tables list them, so that all that a pickle can reach is in
:data:`CONSTRUCTORS` (by REDUCE and NEWOBJ), :data:`STATES` (by BUILD) and
:data:`VALUES` (what a name alone is worth).

mmengine is imported when a checkpoint has objects of it.

An array or tensor must have its bytes in the file. Tensors that repeat theirs
(:meth:`torch.Tensor.expand`) are but views, and yet limited.
"""

import argparse
import importlib
import math
import pickle
from collections import Counter, OrderedDict
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Callable, Dict, NamedTuple, Tuple

import numpy as np
import torch
from torch import Tensor, nn

# Deeper ones would exhaust the stack of whoever walks through them.
MAX_DEPTH = 100

MAX_DIMS = 64

# What `math.prod` of a shape stays under, so that no library overflows.
MAX_COUNT = 1 << 48

# Bytes of all tensors that repeat theirs, which whoever copies them needs
MAX_REPEATED = 1 << 30

# bool, integers, floats and complex numbers. long double is left out: not
# every pattern of its bytes is a number.
NUMPY_CODES = frozenset('?bhilqBHILQefdFD')

# The operations of the pickles that PyTorch writes, with any binary protocol.
OPERATIONS = (
    *('PROTO', 'FRAME', 'STOP', 'MARK', 'NONE', 'NEWTRUE', 'NEWFALSE'),
    *('BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'),
    *('SHORT_BINSTRING', 'BINSTRING', 'BYTEARRAY8'),
    *('SHORT_BINBYTES', 'BINBYTES', 'BINBYTES8'),
    *('SHORT_BINUNICODE', 'BINUNICODE', 'BINUNICODE8'),
    *('EMPTY_TUPLE', 'TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3'),
    *('EMPTY_LIST', 'APPEND', 'APPENDS', 'EMPTY_SET', 'ADDITEMS'),
    *('EMPTY_DICT', 'SETITEM', 'SETITEMS'),
    *('BINPUT', 'LONG_BINPUT', 'BINGET', 'LONG_BINGET', 'MEMOIZE'),
    *('GLOBAL', 'STACK_GLOBAL', 'REDUCE', 'NEWOBJ', 'BUILD', 'BINPERSID'),
)


class Storage(NamedTuple):
    """What a persistent id stands for: bytes of the file, and their dtype."""

    untyped: torch.UntypedStorage
    dtype: torch.dtype


class StorageType(NamedTuple):
    """Stands for a class of storages."""

    dtype: torch.dtype


class Constructor(NamedTuple):
    """Stands for a function or class that a pickle may call."""

    path: str


@dataclass
class Dtype:
    """Stands for a ``numpy.dtype``, of which BUILD sets the byte order."""

    code: str
    byteorder: str = '='

    def to_numpy(self) -> np.dtype:
        """Makes numpy's own."""
        return np.dtype(self.code).newbyteorder(self.byteorder)


def refuse(reason: str) -> None:
    """Raises an ``UnpicklingError``."""
    raise pickle.UnpicklingError(reason)


def expect(condition: Any, what: str, got: Any) -> None:
    """Refuses what is not as expected.

    Args:
        condition (Any): Whether it is.
        what (str): What the value belongs to.
        got (Any): The value.

    Raises:
        UnpicklingError: If the condition does not hold.
    """
    if not condition:
        refuse(f'{what} cannot be {_shorten(got)}')


def _shorten(value: Any) -> str:
    """Shows a value, or the type of one that may be long."""
    if type(value) is Constructor:
        return value.path
    if type(value) in (bool, int, float, str):
        return f'{value!r:.80}'
    return f'a {type(value).__name__}'


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) <= MAX_DIMS
        and all(map(_is_size, value))
        # Zeros left out: an empty array's other sizes count as well.
        and math.prod(n or 1 for n in value) < MAX_COUNT
    )


def _is_key(value: Any) -> bool:
    """Tells flat keys, which hash and compare in no time, from others."""
    kinds = (str, int, float, bool, bytes, type(None))
    items = value if type(value) is tuple else (value,)
    return all(type(item) in kinds for item in items)


# Tensors


def rebuild_tensor_v3(
    storage: Storage,
    offset: int,
    size: Tuple[int, ...],
    stride: Tuple[int, ...],
    requires_grad: bool,
    hooks: Any,
    dtype: torch.dtype,
    metadata: Any = None,
) -> Tensor:
    """Builds a tensor on a part of a storage."""
    expect(type(storage) is Storage, "a tensor's storage", storage)
    expect(type(dtype) is torch.dtype, "a tensor's dtype", dtype)
    expect(_is_size(offset), "a tensor's offset", offset)
    expect(_is_shape(size), "a tensor's size", size)
    is_stride = isinstance(stride, tuple) and all(map(_is_size, stride))
    expect(is_stride and len(stride) == len(size), "a tensor's stride", stride)
    expect(type(requires_grad) is bool, 'requires_grad', requires_grad)
    expect(not metadata, "a tensor's metadata", metadata)
    if 0 in size:
        tensor = torch.empty(size, dtype=dtype, device=storage.untyped.device)
    else:
        steps = sum((n - 1) * step for n, step in zip(size, stride))
        end = (offset + steps + 1) * dtype.itemsize
        if end > storage.untyped.nbytes():
            refuse(
                f'a tensor of size {size} ends at byte {end} of its storage, '
                f'which has {storage.untyped.nbytes()}'
            )
        tensor = torch.empty(0, dtype=dtype, device=storage.untyped.device)
        tensor.set_(storage.untyped, offset, size, stride)
    if requires_grad:
        tensor.requires_grad_()
    return tensor


def rebuild_tensor(storage: Storage, *args: Any) -> Tensor:
    """Builds a tensor of the storage's dtype, as old files have them."""
    return rebuild_tensor_v2(*(storage, *args, False, None))


def rebuild_tensor_v2(
    storage: Storage,
    offset: int,
    size: Tuple[int, ...],
    stride: Tuple[int, ...],
    requires_grad: bool,
    hooks: Any,
    metadata: Any = None,
) -> Tensor:
    """Builds a tensor of the storage's dtype."""
    expect(type(storage) is Storage, "a tensor's storage", storage)
    return rebuild_tensor_v3(
        *(storage, offset, size, stride, requires_grad, hooks),
        *(storage.dtype, metadata),
    )


def rebuild_parameter(
    data: Tensor, requires_grad: bool, hooks: Any, state: Any = None
) -> nn.Parameter:
    """Builds a parameter, without the attributes it may have had."""
    expect(type(data) is Tensor, 'a parameter', data)
    expect(type(requires_grad) is bool, 'requires_grad', requires_grad)
    return nn.Parameter(data, requires_grad)


def rebuild_from_type(
    function: Constructor, cls: type, args: tuple, state: Any
) -> Tensor:
    """Builds a tensor, without the attributes it may have had."""
    expect(
        type(function) is Constructor and function.path in TENSORS,
        "a tensor's constructor",
        function,
    )
    is_tensor = cls is Tensor or cls is nn.Parameter
    expect(is_tensor, "a tensor's type", cls)
    return TENSORS[function.path](*args)


def make_size(sizes: tuple) -> torch.Size:
    """Makes a size out of a tuple."""
    expect(_is_shape(sizes), 'a size', sizes)
    return torch.Size(sizes)


def make_device(kind: str, *index: int) -> torch.device:
    """Makes a device."""
    expect(type(kind) is str, 'a device', kind)
    expect(len(index) < 2 and all(map(_is_size, index)), 'its index', index)
    return torch.device(kind, *index)


# Arrays


def make_dtype(code: str, align: bool = False, copy: bool = False) -> Dtype:
    """Makes a dtype of numbers."""
    is_code = type(code) is str and len(code) <= 3
    dtype = np.dtype(code) if is_code else None
    if dtype is None or dtype.char not in NUMPY_CODES:
        refuse(f'arrays and scalars of dtype {_shorten(code)} hold no numbers')
    return Dtype(dtype.char)


def set_dtype(dtype: Dtype, state: tuple) -> None:
    """Sets the byte order, and ignores the rest, which only records have."""
    is_state = type(state) is tuple and len(state) > 1
    expect(is_state, "a dtype's state", state)
    expect(state[1] in ('<', '>', '|', '='), "a dtype's byte order", state[1])
    dtype.byteorder = state[1]


def make_array(cls: type, shape: tuple, code: Any) -> np.ndarray:
    """Makes the empty array that :func:`set_array` fills."""
    expect(cls is np.ndarray, "an array's type", cls)
    return np.empty(0, np.int8)


def set_array(array: np.ndarray, state: tuple) -> None:
    """Fills an array with the bytes of the file."""
    is_state = type(state) is tuple and len(state) == 5
    expect(is_state, "an array's state", state)
    _, shape, dtype, is_fortran, data = state
    _check_array(shape, dtype, data)
    expect(type(is_fortran) in (bool, int), "an array's order", is_fortran)
    array.__setstate__((1, shape, dtype.to_numpy(), bool(is_fortran), data))


def array_from_buffer(
    data: Any, dtype: Dtype, shape: Tuple[int, ...], order: str
) -> np.ndarray:
    """Makes an array out of bytes, as protocol 5 has it."""
    expect(order in ('C', 'F'), "an array's order", order)
    _check_array(shape, dtype, data)
    array = np.frombuffer(data, dtype.to_numpy())
    return array.reshape(shape, order=order).copy(order)


def make_scalar(dtype: Dtype, data: bytes) -> np.generic:
    """Makes a number of numpy's."""
    _check_array((), dtype, data)
    return np.frombuffer(data, dtype.to_numpy())[0]


def _check_array(shape: Any, dtype: Any, data: Any) -> None:
    """Refuses arrays whose bytes are not just those that they are given."""
    expect(_is_shape(shape), "an array's shape", shape)
    expect(type(dtype) is Dtype, "an array's dtype", dtype)
    expect(type(data) in (bytes, bytearray), "an array's data", data)
    nbytes = math.prod(shape) * dtype.to_numpy().itemsize
    if nbytes != len(data):
        refuse(
            f'an array of shape {shape} and {nbytes} bytes has {len(data)} in '
            'the file'
        )
    if dtype.code == '?' and data.strip(b'\0\1'):
        refuse('an array of bool holds other bytes than 0 and 1')


# mmengine's objects and Python's

BUFFER = 'mmengine.logging.history_buffer.HistoryBuffer'
CONFIG = 'mmengine.config.config.ConfigDict'
SCHEDULER = 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'


def _import(path: str) -> type:
    """Imports a class of mmengine's, of the paths above."""
    module, _, name = path.rpartition('.')
    return getattr(importlib.import_module(module), name)


def make_buffer() -> Any:
    """Makes the empty ``HistoryBuffer`` that :func:`set_buffer` fills."""
    return _import(BUFFER)()


def set_buffer(buffer: Any, state: dict) -> None:
    """Fills a log with its two arrays.

    Every log has the same methods of statistics, and those are the class's.
    """
    expect(type(state) is dict, "a HistoryBuffer's state", state)
    arrays = ('_log_history', '_count_history')
    known = {*arrays, 'max_length', 'statistics_methods'}
    expect(known >= state.keys() >= {*arrays}, "its attributes' set", state)
    logs, counts = (state[name] for name in arrays)
    for array in (logs, counts):
        is_history = type(array) is np.ndarray and array.ndim == 1
        expect(is_history and array.dtype.kind in 'biuf', 'a history', array)
    expect(len(logs) == len(counts), 'the length of counts', len(counts))
    max_length = state.get('max_length', buffer.max_length)
    expect(_is_size(max_length), 'max_length', max_length)
    buffer.max_length = max_length
    buffer._log_history, buffer._count_history = logs.copy(), counts.copy()


# The functions that mmengine's objects keep among their data.
METHODS = {
    BUFFER: ('min', 'max', 'current', 'mean'),
    SCHEDULER: ('_annealing_cos', '_annealing_linear'),
}


def get_method(owner: Constructor, name: str) -> Callable:
    """Looks up one of mmengine's methods, which nothing calls here."""
    path = owner.path if type(owner) is Constructor else None
    if type(name) is not str or name not in METHODS.get(path, ()):
        refuse(
            f'getattr({_shorten(owner)}, {_shorten(name)}) is none of the '
            'methods that mmengine saves'
        )
    return getattr(_import(path), name)


def encode(text: str, encoding: str) -> bytes:
    """Makes bytes, which protocol 2 writes as text."""
    expect(type(text) is str, 'encoded text', text)
    expect(encoding in ('latin1', 'latin-1'), 'an encoding', encoding)
    return text.encode('latin1')


def make_complex(real: float, imaginary: float) -> complex:
    """Makes a complex number."""
    for part in (real, imaginary):
        expect(type(part) is float, 'a part of a complex number', part)
    return complex(real, imaginary)


def make_set(items: list) -> set:
    """Makes a set out of a list."""
    expect(type(items) is list and all(map(_is_key, items)), 'a set', items)
    return set(items)


def make_counter(counts: dict) -> Counter:
    """Makes the numbers of things; a scheduler's milestones are some."""
    is_counts = type(counts) is dict and all(
        type(count) is int for count in counts.values()
    )
    expect(is_counts, 'a Counter', counts)
    return Counter(counts)


def make_config(values: dict) -> dict:
    """Makes a part of a config, a ``ConfigDict``."""
    is_config = type(values) is dict and all(type(k) is str for k in values)
    expect(is_config, 'a ConfigDict', values)
    config = _import(CONFIG)()
    # Its own method would copy all that is in it, as often as it occurs.
    dict.update(config, values)
    return config


def set_dict(target: OrderedDict, state: dict) -> None:
    """Gives a state dict its versions of modules."""
    is_state = type(state) is dict and state.keys() <= {'_metadata'}
    is_state = is_state and all(isinstance(v, dict) for v in state.values())
    expect(is_state, "an OrderedDict's state", state)
    target.__dict__.update(state)


def set_namespace(target: argparse.Namespace, state: dict) -> None:
    """Gives a bag of arguments, which training scripts save, its values."""
    is_state = type(state) is dict and all(type(key) is str for key in state)
    expect(is_state, "a Namespace's state", state)
    target.__dict__.update(state)


# REDUCE and NEWOBJ call one of these, under the name that the pickle has.
TENSORS: Dict[str, Callable] = {
    'torch._utils._rebuild_tensor': rebuild_tensor,
    'torch._utils._rebuild_tensor_v2': rebuild_tensor_v2,
    'torch._utils._rebuild_tensor_v3': rebuild_tensor_v3,
    'torch._utils._rebuild_parameter': rebuild_parameter,
    'torch._utils._rebuild_parameter_with_state': rebuild_parameter,
}
CONSTRUCTORS: Dict[str, Callable] = {
    **TENSORS,
    'torch._tensor._rebuild_from_type_v2': rebuild_from_type,
    'torch.Size': make_size,
    'torch.device': make_device,
    'numpy.dtype': make_dtype,
    'collections.OrderedDict': lambda: OrderedDict(),
    'collections.Counter': make_counter,
    'builtins.set': make_set,
    'builtins.complex': make_complex,
    'builtins.getattr': get_method,
    '_codecs.encode': encode,
    'argparse.Namespace': lambda: argparse.Namespace(),
    CONFIG: make_config,
    BUFFER: make_buffer,
}
# numpy 2 renamed `numpy.core`; a checkpoint may come from either.
for _core in ('numpy.core', 'numpy._core'):
    CONSTRUCTORS[f'{_core}.multiarray._reconstruct'] = make_array
    CONSTRUCTORS[f'{_core}.multiarray.scalar'] = make_scalar
    CONSTRUCTORS[f'{_core}.numeric._frombuffer'] = array_from_buffer

# BUILD calls one of these, by the type of the object.
STATES: Dict[str, Callable] = {
    f'{__name__}.Dtype': set_dtype,
    'numpy.ndarray': set_array,
    BUFFER: set_buffer,
    'collections.OrderedDict': set_dict,
    'argparse.Namespace': set_namespace,
}

_STORAGES = dict(
    Double=torch.float64,
    Float=torch.float32,
    Half=torch.float16,
    BFloat16=torch.bfloat16,
    Long=torch.int64,
    Int=torch.int32,
    Short=torch.int16,
    Char=torch.int8,
    Byte=torch.uint8,
    Bool=torch.bool,
    ComplexDouble=torch.complex128,
    ComplexFloat=torch.complex64,
)
# dtypes of numbers; those of quantized tensors and of bits are not.
_DTYPES = {
    str(dtype): dtype
    for dtype in vars(torch).values()
    if type(dtype) is torch.dtype and not str(dtype).startswith('torch.q')
    if not str(dtype).startswith('torch.bits')
}
# What can be named, but not called.
VALUES: Dict[str, Any] = {
    **_DTYPES,
    **{f'torch.{k}Storage': StorageType(v) for k, v in _STORAGES.items()},
    **{f'torch.cuda.{k}Storage': StorageType(v) for k, v in _STORAGES.items()},
    'torch.storage.UntypedStorage': StorageType(torch.uint8),
    'torch.Tensor': Tensor,
    'torch.nn.parameter.Parameter': nn.Parameter,
    'numpy.ndarray': np.ndarray,
}


class Unpickler(pickle._Unpickler):
    """Reads a pickle, without calling anything but this module's functions.

    Args:
        file (Any): The pickle, which has ``read`` and ``readline``.
        load_storage (Callable): Called with dtype, key, location and number of
            elements of a storage, and perhaps with old files' views; returns
            an ``UntypedStorage``.
    """

    # What Python's own has, and mypy does not know of
    stack: list
    append: Callable
    pop_mark: Callable

    def __init__(self, file: Any, load_storage: Callable) -> None:
        super().__init__(file, encoding='utf-8')
        self.load_storage = load_storage
        self.repeated = 0

    def load(self) -> Any:
        """Reads it.

        Returns:
            Any: Containers of tensors, arrays, numbers and text.

        Raises:
            UnpicklingError: If the pickle does anything else.
        """
        try:
            value = super().load()
        except KeyError as error:
            refuse(f'it has an operation or reference {error} of other uses')
        _check_result(value)
        return value

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a name."""
        if module == '__builtin__':
            module = 'builtins'
        path = f'{module}.{name}'
        if path in VALUES:
            return VALUES[path]
        if path in CONSTRUCTORS or path in METHODS:
            return Constructor(path)
        owner, _, method = path.rpartition('.')
        if owner in METHODS:
            return get_method(Constructor(owner), method)
        refuse(f'it names {path}, which weights have no need of')

    def persistent_load(self, pid: Any) -> Storage:
        """Returns the storage of a persistent id."""
        is_pid = type(pid) is tuple and len(pid) in (5, 6)
        expect(is_pid and pid[0] in ('storage', b'storage'), 'an id', pid)
        _, storage_type, key, location, count, *view = pid
        is_type = type(storage_type) is StorageType
        expect(is_type, "a storage's type", storage_type)
        expect(type(key) is str, "a storage's key", key)
        expect(type(location) is str, "a storage's location", location)
        expect(_is_size(count), "a storage's size", count)
        dtype = storage_type.dtype
        return Storage(
            self.load_storage(dtype, key, location, count, *view), dtype
        )

    def load_reduce(self) -> None:
        """Calls a function of this module."""
        args, function = self.stack.pop(), self.stack.pop()
        is_known = type(function) is Constructor
        is_known = is_known and function.path in CONSTRUCTORS
        expect(is_known, 'a function', function)
        expect(type(args) is tuple, 'arguments', args)
        value = CONSTRUCTORS[function.path](*args)
        if isinstance(value, Tensor):
            nbytes = value.numel() * value.element_size()
            if nbytes > value.untyped_storage().nbytes():
                self.repeated += nbytes
            if self.repeated > MAX_REPEATED:
                refuse(
                    f'a tensor of size {tuple(value.shape)} has but '
                    f'{value.untyped_storage().nbytes()} bytes in the file'
                )
        self.append(value)

    load_newobj = load_reduce

    def load_build(self) -> None:
        """Sets the state of an object."""
        state = self.stack.pop()
        target = self.stack[-1]
        path = _get_path(type(target))
        expect(path in STATES, 'what has a state', target)
        STATES[path](target, state)

    def load_append(self) -> None:
        """Appends to a list."""
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        """Appends several to a list."""
        self._extend(self.pop_mark())

    def _extend(self, items: list) -> None:
        target = self.stack[-1]
        expect(type(target) is list, 'a list', target)
        target.extend(items)

    def load_additems(self) -> None:
        """Adds to a set."""
        items = self.pop_mark()
        target = self.stack[-1]
        expect(type(target) is set, 'a set', target)
        target.update(make_set(items))

    def load_setitem(self) -> None:
        """Sets an item of a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key], [value])

    def load_setitems(self) -> None:
        """Sets several items of a dict."""
        items = self.pop_mark()
        self._update(items[::2], items[1::2])

    def _update(self, keys: list, values: list) -> None:
        target = self.stack[-1]
        expect(type(target) in (dict, OrderedDict), 'a dict', target)
        expect(len(keys) == len(values), 'the number of values', len(values))
        for key, value in zip(keys, values):
            expect(_is_key(key), 'a key', key)
            target[key] = value


# Python's table of operations, without those that weights have no need of.
Unpickler.dispatch = {
    code: getattr(Unpickler, function.__name__)
    for code, function in pickle._Unpickler.dispatch.items()
    if code in {getattr(pickle, name)[0] for name in OPERATIONS}
}


_LEAVES = (
    *(type(None), bool, int, float, complex, str, bytes, bytearray),
    *(torch.dtype, torch.device, torch.Size, Tensor, nn.Parameter, np.ndarray),
)


def _get_path(value: Any) -> str:
    """Returns by which name a pickle knows a class or function."""
    return f'{value.__module__}.{value.__qualname__}'


def _is_leaf(value: Any) -> bool:
    """Tells numbers, text and mmengine's logs and functions."""
    if type(value) in _LEAVES or isinstance(value, np.generic):
        return True
    if type(value) is FunctionType:
        owner, _, name = _get_path(value).rpartition('.')
        return name in METHODS.get(owner, ())
    return _get_path(type(value)) == BUFFER


def _check_result(value: Any) -> None:
    """Refuses a result with anything but numbers and text in containers.

    Raises:
        UnpicklingError: If there is a leaf of other kinds, such as a name that
            nothing was made of, if a container holds itself, or if there are
            more than :data:`MAX_DEPTH` in each other.
    """
    heights: Dict[int, int] = {}

    def get_height(value: Any, depth: int) -> int:
        if _is_leaf(value):
            return 0
        if id(value) in heights:
            return heights[id(value)]
        if isinstance(value, dict):
            children = list(dict.values(value))
            if type(value) is OrderedDict:
                children += vars(value).values()
        elif type(value) is argparse.Namespace:
            children = list(vars(value).values())
        elif type(value) in (list, tuple, set):
            children = list(value)
        else:
            refuse(f'{_shorten(value)} is neither a number nor text')
        # Holds until the height is known: a container may hold itself.
        heights[id(value)] = MAX_DEPTH
        if depth < MAX_DEPTH:
            below = [get_height(child, depth + 1) for child in children]
            heights[id(value)] = 1 + max(below, default=0)
        if heights[id(value)] > MAX_DEPTH or depth >= MAX_DEPTH:
            refuse(
                f'more than {MAX_DEPTH} containers lie in each other, or one '
                'in itself'
            )
        return heights[id(value)]

    get_height(value, 0)
