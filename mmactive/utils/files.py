# Copyright (c) mmactive contributors. All rights reserved.
"""Files that are either whole or not there."""

import os
import os.path as osp
import shutil
from contextlib import contextmanager, suppress
from typing import Iterator, Union


def write_atomically(path: str, content: Union[bytes, memoryview]) -> None:
    """Writes a file beside its place and renames it when it is on the disk.

    Whoever dies meanwhile, the process or the machine, leaves the old file or
    the new one.

    Args:
        path (str): The file. Its folder is made if it is missing.
        content (bytes | memoryview): What it shall hold.

    Raises:
        OSError: If it cannot be written. The error names the file, and what
            was there before stays.
    """
    folder = osp.dirname(osp.abspath(path))
    # One writer at a time has a work dir, so that the next one overwrites what
    # a killed one has left of it.
    temporary = f'{path}.tmp'
    try:
        os.makedirs(folder, exist_ok=True)
        with open(temporary, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            os.remove(temporary)
        raise OSError(error.errno, os.strerror(error.errno), path) from error
    _sync(folder)


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """Lets a file be written piece by piece, which is there when it is whole.

    Args:
        path (str): The file. Its folder is made if it is missing.

    Yields:
        str: Where to write it: beside it, with the same ending.

    Raises:
        OSError: If it cannot be written.
    """
    root, ending = osp.splitext(path)
    temporary = f'{root}.tmp{ending}'
    os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            os.remove(temporary)


def replace(source: str, path: str) -> None:
    """Gives a file or folder its name when it is on the disk.

    Args:
        source (str): What others have written beside its place.
        path (str): Its place. A folder there is removed first.
    """
    if osp.isdir(path):
        shutil.rmtree(path)
    names = [source]
    for folder, folders, files in os.walk(source):
        names += [osp.join(folder, name) for name in (*folders, *files)]
    for name in names:
        _sync(name)
    os.replace(source, path)
    _sync(osp.dirname(osp.abspath(path)))


def _sync(path: str) -> None:
    """Puts a file or a renaming in a folder on the disk, where it can be."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
