# Copyright (c) mmactive contributors. All rights reserved.
"""Loads mmengine's checkpoints without running the code of strangers.

A checkpoint is a pickle, and unpickling can call any function. With
``weights_only=True``, the default since PyTorch 2.6, ``torch.load`` refuses
every name that is not on a list of harmless ones, and with that mmengine's own
checkpoints: the message hub in them holds numpy arrays and ``HistoryBuffer``
objects, and these, like one of the schedulers, their methods. This module puts
on the list what those need and nothing that leads further, and makes
mmengine's loaders keep to it.
"""

import codecs
import os.path as osp
from functools import partial
from pickle import UnpicklingError
from typing import Any, Callable, List

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

# The methods that mmengine's objects keep among their data.
_METHODS = {
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}

# bool, integers, floats and complex numbers. Records, strings and objects do
# not occur in what mmengine saves.
_NUMBERS = '?bhilqBHILQefdgFDG'


def _alias(path: str, function: Callable) -> Callable:
    """Wraps a function so that a pickle knows it as ``path``.

    ``add_safe_globals`` takes ``(function, path)`` itself, but not before
    PyTorch 2.7.
    """

    def alias(*args):
        return function(*args)

    alias.__module__, _, alias.__qualname__ = path.rpartition('.')
    alias.__name__ = alias.__qualname__
    return alias


def _get_method(owner: Any, name: str) -> Callable:
    """Stands in for ``getattr``, by which pickles refer to methods.

    Raises:
        UnpicklingError: If it is none of the methods that mmengine saves.
    """
    for cls, names in _METHODS.items():
        if owner is cls and name in names:
            return getattr(owner, name)
    raise UnpicklingError(
        f'getattr({owner!r}, {name!r}) is refused: it is none of the methods '
        'that mmengine saves'
    )


def _get_dtype(code: str, align: bool = False, copy: bool = False) -> np.dtype:
    """Stands in for ``numpy.dtype``, returns one of numpy's own instances.

    The real one would return a copy, and a pickle could then set its flags and
    pass off the bytes of an array as addresses of objects. What it sets on
    numpy's own instances is ignored, the byte order included.

    Raises:
        UnpicklingError: If it is not a dtype of numbers.
    """
    dtype = np.dtype(code) if isinstance(code, str) else None
    if dtype is None or dtype.char not in _NUMBERS or not dtype.isbuiltin:
        raise UnpicklingError(
            f'dtype {code!r} is refused: it holds no numbers'
        )
    return dtype


def _list_safe_globals() -> List[Callable]:
    """Lists what mmengine's checkpoints need beyond tensors."""
    numpy_core = np._core if hasattr(np, '_core') else np.core
    multiarray = numpy_core.multiarray
    aliases = [
        _alias('builtins.getattr', _get_method),
        _alias('numpy.dtype', _get_dtype),
    ]
    # numpy 2 renamed `numpy.core`; a checkpoint may come from either.
    for package in ('numpy.core', 'numpy._core'):
        for name in ('_reconstruct', 'scalar'):
            path = f'{package}.multiarray.{name}'
            aliases.append(_alias(path, getattr(multiarray, name)))
    dtypes = {type(np.dtype(code)) for code in _NUMBERS}
    # Pickles of bytes name `codecs.encode`, which PyTorch 2.4 does not list.
    return [*_METHODS, codecs.encode, np.ndarray, *dtypes, *aliases]


def _load(file: Any, map_location: Any = None, **kwargs) -> Any:
    """Calls ``torch.load`` with ``weights_only=True``, whatever is asked."""
    return torch.load(file, map_location=map_location, weights_only=True)


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Loads a checkpoint file, replaces mmengine's loader of that name.

    Args:
        filename (str): Path of the file; ``~`` is expanded.
        map_location (str | torch.device | dict | Callable | None): As in
            :func:`torch.load`.

    Returns:
        dict: The checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        UnpicklingError: If the file holds anything but tensors, numbers,
            strings, containers of them and mmengine's log statistics.
        RuntimeError: If it cannot be read, for instance since it was cut off.
    """
    filename = osp.expanduser(filename)
    if not osp.isfile(filename):
        raise FileNotFoundError(f'{filename} can not be found.')
    try:
        return _load(filename, map_location)
    except UnpicklingError as error:
        raise UnpicklingError(
            f'{filename} is refused, since loading it could run code that it '
            f'brings along: {_shorten(error)}'
        ) from None
    except (EOFError, RuntimeError) as error:
        raise RuntimeError(f'{filename} does not load: {error!r}') from error


def _shorten(error: UnpicklingError) -> str:
    """Drops PyTorch's advice to set ``weights_only=False`` from an error."""
    text = str(error).partition('\n\nCheck the documentation')[0].strip()
    reason = text.splitlines()[-1].rpartition('WeightsUnpickler error: ')[2]
    return reason.partition(' Please use')[0]


def trust_mmengine_checkpoints() -> None:
    """Makes mmengine's checkpoints loadable with ``weights_only=True``.

    Afterwards ``torch.load`` reads them with its default arguments, and
    mmengine reads local files and URLs with ``weights_only=True`` under any
    PyTorch and with either distribution of mmengine.
    """
    torch.serialization.add_safe_globals(_list_safe_globals())
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    # `https://`, `torchvision://`, `open-mmlab://` and `mmcls://` end here,
    # and this function's default is `weights_only=False`.
    mmengine_checkpoint.load_url = partial(
        mmengine_checkpoint.load_url, weights_only=True
    )
    # onedl-mmengine's other loaders allow all of `getattr` and then fall back
    # to `weights_only=False`.
    if hasattr(mmengine_checkpoint, '_safe_torch_load'):
        mmengine_checkpoint._safe_torch_load = _load
