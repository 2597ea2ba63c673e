# Copyright (c) mmactive contributors. All rights reserved.
"""Reads the formats of checkpoint files, and tells what other files are.

PyTorch writes a zip archive of a pickle and of a record for each storage, and
before 1.6 it wrote a pickle that the storages follow. safetensors' format is
read and written by its own package.
"""

import io
import json
import os
import pickle
import struct
import sys
import zipfile
import zlib
from typing import Any, BinaryIO, Callable, Dict, Optional, Tuple

import torch

from .unpickler import Unpickler, refuse

# As PyTorch's legacy format begins
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
MAGIC_BYTES = pickle.dumps(MAGIC_NUMBER, 2)[2:]
PROTOCOL_VERSION = 1001

# First bytes of files that are taken for checkpoints
SIGNATURES = {
    b'version https://git-lfs': 'a git-lfs pointer: `git lfs pull` fetches '
    'the file itself',
    b'\x89PNG': 'an image',
    b'\xff\xd8\xff': 'an image',
    b'GIF8': 'an image',
    b'BM': 'an image',
    b'II*\0': 'an image',
    b'MM\0*': 'an image',
    b'RIFF': 'an image, a sound or a video',
    b'\x1f\x8b': 'a gzip archive: unpack it first',
    b'BZh': 'a bzip2 archive: unpack it first',
    b'\xfd7zXZ': 'an xz archive: unpack it first',
    b'\x28\xb5\x2f\xfd': 'a zstd archive: unpack it first',
    b'7z\xbc\xaf': 'a 7z archive: unpack it first',
    b'Rar!': 'a rar archive: unpack it first',
    b'\x89HDF': 'an HDF5 file',
    b'\x93NUMPY': "an array of numpy's",
    b'GGUF': 'a GGUF file',
    b'%PDF': 'a PDF file',
    b'\x7fELF': 'a program',
    b'MZ': 'a program',
}

# Under which name a safetensors file holds the `meta` of a checkpoint, as JSON
SAFETENSORS_META = 'mmengine_meta'

LoadStorage = Callable[..., torch.UntypedStorage]


class LimitedFile:
    """A file that is not read past its end, however much is asked for.

    Args:
        file (BinaryIO): The file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file: Any = file  # with `readinto`
        self.nbytes = file.seek(0, os.SEEK_END)
        file.seek(0)

    def read(self, nbytes: int) -> bytes:
        """Reads a number of bytes, or raises an ``EOFError``."""
        self.expect(nbytes)
        return self.file.read(nbytes)

    def readline(self) -> bytes:
        """Reads a line, which in a pickle is a name."""
        return self.file.readline(4096)

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer."""
        self.expect(len(buffer))
        return self.file.readinto(buffer)

    def expect(self, nbytes: int) -> None:
        """Raises an ``EOFError`` if there are fewer bytes."""
        if nbytes > self.nbytes - self.file.tell():
            raise EOFError


def read(file: BinaryIO, map_location: Any = None) -> Any:
    """Reads a checkpoint.

    Args:
        file (BinaryIO): Its content.
        map_location (str | torch.device | dict | Callable | None): As in
            :func:`torch.load`.

    Returns:
        Any: What it holds.

    Raises:
        UnpicklingError: If it holds anything but numbers and text.
        Exception: Of any kind, if it is damaged or no checkpoint:
            :func:`describe` says what it is.
    """
    limited = LimitedFile(file)
    head = file.read(32)
    file.seek(0)
    if head.startswith(b'PK\3\4'):
        return _ZipReader(file, limited.nbytes, map_location).read()
    if _is_safetensors(head):
        return _read_safetensors(file, map_location)
    if head.startswith(b'\x80') and MAGIC_BYTES in head:
        return _read_legacy(limited, map_location)
    if head.startswith(b'\x80'):
        refuse('it is a pickle that PyTorch has not saved')
    raise ValueError


class _ZipReader:
    """Reads the archives of PyTorch from 1.6 on.

    Args:
        file (BinaryIO): The archive.
        nbytes (int): Its size.
        map_location (Any): As in :func:`torch.load`.
    """

    def __init__(self, file: BinaryIO, nbytes: int, map_location: Any) -> None:
        self.file: Any = file  # with `readinto`
        self.nbytes = nbytes
        self.relocate = _get_relocation(map_location)
        self.archive = zipfile.ZipFile(file)
        self.storages: Dict[str, torch.UntypedStorage] = {}

    def read(self) -> Any:
        """Reads it."""
        names = self.archive.namelist()
        pickles = [
            name
            for name in names
            if name.endswith('/data.pkl') and name.count('/') == 1
        ]
        if any(name.endswith('/constants.pkl') for name in names):
            refuse(
                'it is a TorchScript archive, which holds a program; save '
                "its state_dict() instead, after torch.jit.load() if it's "
                'from a source that you trust'
            )
        if len(pickles) != 1:
            refuse('it is a zip archive, but not of a checkpoint')
        if sum(info.file_size for info in self.archive.infolist()) > (
            self.nbytes
        ):
            refuse(
                'it is a compressed zip archive, which PyTorch does not '
                'write: unpack it, and pack it with `zip -0`'
            )
        self.folder = pickles[0][: -len('data.pkl')]
        self.byteorder: str = sys.byteorder
        if f'{self.folder}byteorder' in names:
            self.byteorder = self.read_record('byteorder').decode('ascii')
        data = LimitedFile(io.BytesIO(self.read_record('data.pkl')))
        return Unpickler(data, self.load_storage).load()

    def load_storage(
        self, dtype: torch.dtype, key: str, location: str, count: int
    ) -> torch.UntypedStorage:
        """Reads a storage, once."""
        if key not in self.storages:
            record = self.get_record(f'data/{key}')
            _check_nbytes(key, count * dtype.itemsize, record.file_size)
            storage = _make_storage(record.file_size, self.fill, record)
            if self.byteorder != sys.byteorder:
                storage.byteswap(dtype)
            self.storages[key] = self.relocate(storage, location)
        storage = self.storages[key]
        _check_nbytes(key, count * dtype.itemsize, storage.nbytes())
        _check_bool(storage, dtype)
        return storage

    def get_record(self, name: str) -> zipfile.ZipInfo:
        """Looks up a record."""
        try:
            return self.archive.getinfo(self.folder + name)
        except KeyError:
            raise EOFError(f'there is no {name} in it') from None

    def read_record(self, name: str) -> bytes:
        """Reads a short record."""
        record = self.get_record(name)
        data = bytearray(record.file_size)
        self.fill(memoryview(data), record)
        return bytes(data)

    def fill(self, buffer: memoryview, record: zipfile.ZipInfo) -> None:
        """Reads a record, and compares its checksum.

        ``zipfile`` would copy it, and refuse those of
        ``torch.serialization.set_crc32_options(False)``, which are 0.
        """
        self.file.seek(record.header_offset)
        layout: str = getattr(zipfile, 'structFileHeader')  # noqa: B009
        header = self.file.read(struct.calcsize(layout))
        fields = struct.unpack(layout, header)
        is_stored = record.compress_type == zipfile.ZIP_STORED
        if not is_stored or record.flag_bits & 1:
            refuse(f'{record.filename} in it is compressed or encrypted')
        self.file.seek(sum(fields[-2:]), os.SEEK_CUR)
        if self.file.readinto(buffer) != len(buffer):
            raise EOFError
        if record.CRC and zlib.crc32(buffer) != record.CRC:
            raise EOFError(f'the checksum of {record.filename} is another')


def _read_legacy(file: LimitedFile, map_location: Any) -> Any:
    """Reads what PyTorch wrote before 1.6.

    The storages follow what refers to them, so that this is read twice: first
    with storages on the meta device, to find their sizes.
    """

    def load_nothing(*args: Any) -> None:
        refuse('it has storages where there are none')

    header = [Unpickler(file, load_nothing).load() for _ in range(3)]
    if header[:2] != [MAGIC_NUMBER, PROTOCOL_VERSION]:
        refuse(f'it is of version {header[1]!r:.80} of the format')

    start = file.file.tell()
    storages: Dict[str, torch.UntypedStorage] = {}
    locations: Dict[str, str] = {}

    def load_storage(
        dtype: torch.dtype,
        key: str,
        location: str,
        count: int,
        view: Optional[tuple],
    ) -> torch.UntypedStorage:
        nbytes = count * dtype.itemsize
        if key not in storages:
            _check_nbytes(key, nbytes, file.nbytes - start, exactly=False)
            storages[key] = torch.UntypedStorage(nbytes, device='meta')
        locations[key] = location
        storage = storages[key]
        _check_nbytes(key, nbytes, storage.nbytes())
        _check_bool(storage, dtype)
        if view is None:
            return storage
        _, offset, size = view
        if min(offset, size) < 0 or (offset + size) > count:
            refuse(f'a view of {size} elements ends after storage {key}')
        size *= dtype.itemsize
        offset *= dtype.itemsize
        return storage[offset : offset + size]

    Unpickler(file, load_storage).load()
    keys = Unpickler(file, load_nothing).load()
    if type(keys) is not list or sorted(keys) != sorted(storages):
        refuse('its list of storages is not that of its tensors')
    relocate = _get_relocation(map_location)
    for key in keys:
        nbytes = storages[key].nbytes()
        (count,) = struct.unpack('<q', file.read(8))
        if count < 0 or (count and nbytes % count):
            refuse(f'storage {key} has {nbytes} bytes, not {count} elements')
        storage = _make_storage(nbytes, lambda buffer: file.readinto(buffer))
        storages[key] = relocate(storage, locations[key])
    file.file.seek(start)
    return Unpickler(file, load_storage).load()


def _make_storage(nbytes: int, fill: Callable, *args: Any) -> Any:
    """Makes a storage that a function fills."""
    data = torch.empty(nbytes, dtype=torch.uint8)
    if nbytes:
        fill(memoryview(data.numpy()), *args)
    return data.untyped_storage()


def _check_nbytes(
    key: str, claimed: int, found: int, exactly: bool = True
) -> None:
    """Refuses a storage that claims more than there is."""
    if claimed > found or (exactly and claimed != found):
        refuse(f'storage {key} claims {claimed} bytes, but there are {found}')


def _check_bool(storage: torch.UntypedStorage, dtype: torch.dtype) -> None:
    """Refuses bytes that are neither true nor false, undefined in C++."""
    if dtype == torch.bool and storage.device.type == 'cpu':
        data = torch.empty(0, dtype=torch.uint8).set_(storage)
        if data.numel() and data.max() > 1:
            refuse('a tensor of bool holds other bytes than 0 and 1')


def _get_relocation(map_location: Any) -> Callable:
    """Returns the function that ``map_location`` stands for."""
    restore = torch.serialization.default_restore_location
    if map_location is None:
        return restore
    if callable(map_location):
        return lambda storage, location: (
            map_location(storage, location) or restore(storage, location)
        )
    if isinstance(map_location, dict):
        return lambda storage, location: restore(
            storage, map_location.get(location, location)
        )
    return lambda storage, location: restore(storage, str(map_location))


def _is_safetensors(head: bytes) -> bool:
    """Tells by the size and beginning of the header."""
    return head[8:9] == b'{' and head[6:8] == b'\0\0'


def _import_safetensors() -> Any:
    """Imports the package of the format."""
    try:
        import safetensors.torch
    except ImportError:
        raise ImportError(
            'it is a safetensors file: `pip install safetensors` reads and '
            'writes it'
        ) from None
    return safetensors.torch


def _read_safetensors(file: BinaryIO, map_location: Any) -> dict:
    """Reads safetensors' format, by its own package.

    Returns:
        dict: The weights as ``state_dict``, and ``meta``, which is empty in
        files that others have written.
    """
    safetensors = _import_safetensors()
    relocate = _get_relocation(map_location)
    data = file.read()
    weights = safetensors.load(data)
    if map_location is not None:
        weights = {
            name: torch.empty(0, dtype=x.dtype, device=storage.device).set_(
                storage, 0, x.shape, x.stride()
            )
            for name, x in weights.items()
            for storage in [relocate(x.untyped_storage(), 'cpu')]
        }
    header, _ = _read_safetensors_header(data)
    metadata = header.get('__metadata__') or {}
    meta = json.loads(metadata.get(SAFETENSORS_META, '{}'))
    return dict(meta=meta, state_dict=weights)


def dump_safetensors(weights: dict, meta: dict) -> bytes:
    """Writes safetensors' format, by its own package.

    Args:
        weights (dict[str, Tensor]): The weights by name.
        meta (dict): What else the checkpoint says, of kinds that JSON knows.

    Returns:
        bytes: Content of the file.

    Raises:
        ImportError: If ``safetensors`` is not installed.
    """
    safetensors = _import_safetensors()
    metadata = {'format': 'pt', SAFETENSORS_META: json.dumps(meta)}
    # The format knows neither strides nor tensors that share their memory.
    copies = {
        name: x.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, x in weights.items()
    }
    data = safetensors.save(copies, metadata)
    # The order of its metadata is random, but the same shall be the same.
    header, start = _read_safetensors_header(data)
    text = json.dumps(header, sort_keys=True, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    return struct.pack('<Q', len(text)) + text + data[start:]


def _read_safetensors_header(data: bytes) -> Tuple[dict, int]:
    """Returns the header of safetensors' format and where it ends."""
    end = 8 + struct.unpack_from('<Q', data)[0]
    return json.loads(data[8:end]), end


def describe(file: BinaryIO) -> str:
    """Says what a file is that does not load.

    Args:
        file (BinaryIO): Its content.

    Returns:
        str: A phrase such as 'an HTML page'.
    """
    nbytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(4096)
    if not nbytes:
        return 'an empty file'
    if not head.strip(b'\0'):
        return 'a file that begins with zeros, as lost blocks of a disk do'
    for signature, kind in SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if head[257:262] == b'ustar':
        return (
            "a tar archive, PyTorch's format before 0.1.10 if it is a "
            'checkpoint: load and save it with a PyTorch of these days'
        )
    if head.startswith(b'PK\3\4'):
        # `zipfile.is_zipfile` raises errors of its own.
        file.seek(max(0, nbytes - (1 << 16)))
        is_whole = b'PK\5\6' in file.read()
        return f'a checkpoint that is {"damaged" if is_whole else "cut off"}'
    if _is_safetensors(head):
        return 'a safetensors file that is cut off or damaged'
    if MAGIC_BYTES in head[:32]:
        return 'a checkpoint that is cut off or damaged'
    return _describe_text(head) or "of a format that is none of PyTorch's"


def _describe_text(head: bytes) -> Optional[str]:
    """Tells kinds of texts from others."""
    try:
        text = head.decode('utf-8')
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return None
        text = head[: error.start].decode('utf-8')
    if any(ord(c) < 32 and c not in '\t\n\r\f' for c in text):
        return None
    start = text.lstrip('\ufeff \t\r\n').lower()
    if start.startswith(('<!doctype html', '<html', '<head', '<body')):
        return 'an HTML page, such as a site sends instead of a file'
    if start.startswith('<'):
        return 'an XML file'
    try:
        json.JSONDecoder().raw_decode(start)
    except ValueError as error:
        # One longer than what is looked at ends too early.
        position = getattr(error, 'pos', 0)
        if not start.startswith(('{', '[')) or position < len(start) / 2:
            return 'a text file'
    return 'a JSON file' if start[:1] in '{[' else 'a text file'
