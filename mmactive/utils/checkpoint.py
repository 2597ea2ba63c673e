# Copyright (c) mmactive contributors. All rights reserved.
"""Loads checkpoints without running the code of strangers, and saves them.

``torch.load(..., weights_only=True)`` refuses mmengine's checkpoints: the
message hub in them holds numpy arrays and ``HistoryBuffer`` objects. The
loader here reads them, with every PyTorch, and mmengine is made to use it for
all that it loads. PyTorch's own list of what ``torch.load`` allows stays as
it was.
"""

import hashlib
import io
import os
import os.path as osp
import pickle
from contextlib import suppress
from typing import Any, BinaryIO, Optional, Sequence, Tuple, Union
from urllib.parse import urlparse

import numpy as np
import torch
from torch import Tensor

from . import checkpoint_file
from .files import write_atomically


def load(
    file: Union[str, os.PathLike, BinaryIO],
    map_location: Any = None,
    name: Optional[str] = None,
    **kwargs: Any,
) -> Any:
    """Loads a checkpoint: tensors, numbers and text, and mmengine's logs.

    Takes the place of :func:`torch.load`.

    Args:
        file (str | os.PathLike | BinaryIO): Path or content. ``~`` is
            expanded.
        map_location (str | torch.device | dict | Callable | None): As in
            :func:`torch.load`.
        name (str, optional): What errors call the file. Defaults to its path.
        kwargs (dict): Other arguments of :func:`torch.load`, which choose
            between ways of reading that there is but one of here.

    Returns:
        Any: What the file holds, a dict as a rule.

    Raises:
        FileNotFoundError: If there is no such file.
        IsADirectoryError: If it is a folder.
        UnpicklingError: If the file holds anything else, or claims to hold
            more than it does.
        RuntimeError: If it is damaged, or no checkpoint.

    Every error names the file and says what it is.
    """
    if isinstance(file, (str, os.PathLike)):
        path = osp.expanduser(file)
        name = name or os.fspath(file)
        if osp.isdir(path):
            raise IsADirectoryError(
                f'{name} is a folder, but a checkpoint is a file'
            )
        if not osp.isfile(path):
            raise FileNotFoundError(f'{name} can not be found.')
        with open(path, 'rb') as opened:
            return load(opened, map_location, name)
    name = name or getattr(file, 'name', 'the checkpoint')
    try:
        return checkpoint_file.read(file, map_location)
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(
            f'{name} is refused, since a checkpoint holds but numbers and '
            f'text: {error}'
        ) from None
    except (ImportError, OSError) as error:
        raise type(error)(f'{name} does not load: {error}') from error
    except Exception as error:
        kind = checkpoint_file.describe(file)
        detail = f' ({error})' if str(error) else ''
        raise RuntimeError(
            f'{name} does not load: it is {kind}{detail}'
        ) from error


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Loads a checkpoint file, replaces mmengine's loader of that name.

    Args:
        filename (str): Path of the file; ``~`` is expanded.
        map_location (str | torch.device | dict | Callable | None): As in
            :func:`torch.load`.

    Returns:
        Any: As :func:`load` does.

    Raises:
        Exception: As :func:`load` does.
    """
    return load(filename, map_location)


def load_url(
    url: str,
    model_dir: Optional[str] = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: Optional[str] = None,
    **kwargs: Any,
) -> Any:
    """Downloads a checkpoint and loads it, as PyTorch's does.

    Args:
        url (str): Where it is.
        model_dir (str, optional): Where it is kept. Defaults to the folder
            ``checkpoints`` of :func:`torch.hub.get_dir`.
        map_location (Any): As in :func:`torch.load`.
        progress (bool): Whether to show a progress bar. Defaults to True.
        check_hash (bool): Whether the file's name ends with its checksum, as
            in ``name-<sha256>.pth``. Defaults to False.
        file_name (str, optional): Its name there. Defaults to that of the
            URL.
        kwargs (dict): Other arguments of PyTorch's, ignored.

    Returns:
        Any: As :func:`load` does.

    Raises:
        Exception: As :func:`load` does; it names URL and file.
    """
    model_dir = model_dir or osp.join(torch.hub.get_dir(), 'checkpoints')
    file_name = file_name or osp.basename(urlparse(url).path)
    path = osp.join(model_dir, file_name)
    if not osp.exists(path):
        os.makedirs(model_dir, exist_ok=True)
        found = torch.hub.HASH_REGEX.search(file_name) if check_hash else None
        prefix = found.group(1) if found else None
        torch.hub.download_url_to_file(url, path, prefix, progress)
    return load(path, map_location, f'{url} ({path})')


def save(checkpoint: dict, path: str) -> None:
    """Saves a checkpoint all at once, so that none is ever half written.

    Args:
        checkpoint (dict): See :func:`dump`.
        path (str): The file. Its suffix says the format.

    Raises:
        Exception: As :func:`dump` does, or ``OSError`` that names the file.
    """
    write_atomically(path, dump(checkpoint, path))


def dump(checkpoint: dict, path: str) -> Union[bytes, memoryview]:
    """Makes the content of a checkpoint file.

    Args:
        checkpoint (dict): What the file shall hold. In safetensors' format
            that is weights by name, as they are or as the one value beside
            ``meta``.
        path (str): Name of the file: ``.safetensors`` is that format, every
            other suffix PyTorch's.

    Returns:
        bytes | memoryview: The content.

    Raises:
        ValueError: If there is anything in it that the format cannot hold.
            The error names it.
        ImportError: If ``safetensors`` is not installed.
    """
    if not path.endswith('.safetensors'):
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        return buffer.getbuffer()
    parts = dict(checkpoint)
    meta = parts.pop('meta', {})
    if len(parts) == 1 and isinstance(next(iter(parts.values())), dict):
        (parts,) = parts.values()
    bad = [name for name, x in parts.items() if not isinstance(x, Tensor)]
    if bad:
        raise ValueError(
            f'{path}: a safetensors file holds weights and meta alone, but '
            f'got {bad[:3]}'
        )
    return checkpoint_file.dump_safetensors(parts, make_plain(meta))


def dump_published(
    checkpoint: dict,
    path: str,
    keys: Sequence[str] = ('meta', 'state_dict'),
) -> Tuple[str, Union[bytes, memoryview]]:
    """Makes a file to publish: what others need, under a name with a checksum.

    Its ``meta`` is plain, so that ``torch.load`` reads it without knowing
    mmengine.

    Args:
        checkpoint (dict): What training has saved.
        path (str): Name of the file, without the checksum.
        keys (Sequence[str]): What to keep. Defaults to meta and weights.

    Returns:
        tuple[str, bytes | memoryview]: ``path`` with the first eight digits of
        the content's SHA-256 before its suffix, as PyTorch's ``check_hash``
        expects, and the content.

    Raises:
        Exception: As :func:`dump` does.
    """
    kept = {key: checkpoint[key] for key in keys if key in checkpoint}
    if 'meta' in kept:
        kept['meta'] = make_plain(kept['meta'])
    content = dump(kept, path)
    stem, suffix = osp.splitext(path)
    digest = hashlib.sha256(content).hexdigest()
    return f'{stem}-{digest[:8]}{suffix}', content


def make_plain(meta: dict) -> dict:
    """Reduces the ``meta`` of a checkpoint to what every reader knows.

    Args:
        meta (dict): Values by name.

    Returns:
        dict: Those of the values that consist of dicts, lists, tuples, text,
        numbers and None. Arrays and tensors have become lists.
    """
    plain = {}
    for key, value in meta.items():
        with suppress(TypeError):
            plain[key] = _make_plain(value)
    return plain


def _make_plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic, Tensor)):
        return value.tolist()
    if isinstance(value, dict):
        return {_make_plain(k): _make_plain(x) for k, x in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_make_plain, value))
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError
