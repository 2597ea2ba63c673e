# Copyright (c) mmactive contributors. All rights reserved.
"""Hostile and damaged checkpoints: all that a pickle can reach, and fuzzing.

``MMACTIVE_FUZZ_EXAMPLES`` sets how many files each of the fuzzing tests makes.
"""

import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from torch._weights_only_unpickler import _get_allowed_globals

from mmactive.utils import unpickler
from mmactive.utils.checkpoint import load
from mmactive.utils.unpickler import CONSTRUCTORS, STATES, VALUES

EXAMPLES = int(os.environ.get('MMACTIVE_FUZZ_EXAMPLES', 150))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
NAME = 'the-file.pth'


# A pickle of nodes, which may name, call and set anything.


@dataclass
class Call:
    """A call by REDUCE or NEWOBJ, and perhaps a state for BUILD."""

    name: str
    args: Any
    state: Any = None
    operation: bytes = pickle.REDUCE


@dataclass
class Name:
    """A name alone."""

    name: str


@dataclass
class Id:
    """A persistent id."""

    value: Any


def encode(value):
    """Writes the operations that make a value."""
    if value is None:
        return pickle.NONE
    if isinstance(value, bool):
        return pickle.NEWTRUE if value else pickle.NEWFALSE
    if isinstance(value, int):
        data = pickle.encode_long(value)
        return pickle.LONG1 + bytes([len(data)]) + data
    if isinstance(value, float):
        return pickle.BINFLOAT + struct.pack('>d', value)
    if isinstance(value, str):
        data = value.encode('utf-8', 'surrogatepass')
        return pickle.BINUNICODE + struct.pack('<I', len(data)) + data
    if isinstance(value, bytes):
        return pickle.BINBYTES + struct.pack('<I', len(value)) + value
    if isinstance(value, tuple):
        return pickle.MARK + b''.join(map(encode, value)) + pickle.TUPLE
    if isinstance(value, list):
        items = b''.join(map(encode, value))
        return pickle.EMPTY_LIST + pickle.MARK + items + pickle.APPENDS
    if isinstance(value, dict):
        items = b''.join(encode(k) + encode(x) for k, x in value.items())
        return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
    if isinstance(value, Name):
        module, _, name = value.name.rpartition('.')
        return pickle.GLOBAL + f'{module}\n{name}\n'.encode()
    if isinstance(value, Id):
        return encode(value.value) + pickle.BINPERSID
    data = encode(Name(value.name)) + encode(value.args) + value.operation
    if value.state is not None:
        data += encode(value.state) + pickle.BUILD
    return data


def pack(data, records=(), method=zipfile.ZIP_STORED):
    """Makes a checkpoint of a pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', method) as archive:
        archive.writestr('a/data.pkl', data)
        for key, record in dict(records).items():
            archive.writestr(f'a/data/{key}', record)
    return stream.getvalue()


RECORDS = {'0': np.arange(8, dtype='float32').tobytes()}


def load_bytes(data):
    """Loads the content of a file."""
    return load(io.BytesIO(data), name=NAME)


def load_pickle(*operations):
    """Loads a checkpoint of a pickle."""
    data = b'\x80\2' + b''.join(operations) + pickle.STOP
    return load_bytes(pack(data, RECORDS))


def count_bytes(value, seen=None):
    """Walks through what was loaded, reads all numbers, returns their size.

    Raises:
        AssertionError: If there is anything but numbers and text.
    """
    kind = type(value)
    if kind in (bool, int, float, complex, str, bytes, type(None)):
        return 0
    if kind in (torch.Size, torch.dtype, torch.device):
        return 0
    if isinstance(value, torch.Tensor):
        if value.numel():
            storage = value.untyped_storage()
            torch.empty(0, dtype=torch.uint8).set_(storage).max()
            # Reads the first and the last number at least.
            value[(0,) * value.ndim].item(), value[(-1,) * value.ndim].item()
        return value.numel() * value.element_size()
    if isinstance(value, (np.ndarray, np.generic)):
        assert value.dtype.kind in 'biufc'
        np.asarray(value).sum()
        return value.nbytes
    if kind is HistoryBuffer:
        return sum(map(count_bytes, value.data))
    if isinstance(value, dict):
        return sum(map(count_bytes, value.values()))
    if kind in (list, tuple, set):
        return sum(map(count_bytes, value))
    if kind.__name__ == 'Namespace':
        return sum(map(count_bytes, vars(value).values()))
    assert kind is type(HistoryBuffer.mean), kind
    return 0


def check(data):
    """Loads numbers, or is refused by an error that names the file."""
    try:
        value = load_bytes(data)
    except (pickle.UnpicklingError, RuntimeError) as error:
        message = str(error)
    else:
        size = count_bytes(value)
        assert size <= unpickler.MAX_REPEATED + len(data) * 100
        return value
    assert message.startswith(NAME)
    assert 'weights_only' not in message
    return None


# What can be reached


def test_tables():
    """Only functions of ours are called, and no class is among them."""
    for table in (CONSTRUCTORS, STATES):
        for name, function in table.items():
            assert type(function) is type(encode), name
            assert function.__module__ == unpickler.__name__, name
    values = [x for x in VALUES.values() if isinstance(x, type)]
    assert set(values) == {torch.Tensor, torch.nn.Parameter, np.ndarray}
    dispatch = unpickler.Unpickler.dispatch
    assert len(dispatch) == len(unpickler.OPERATIONS)
    known = {getattr(pickle, name)[0] for name in unpickler.OPERATIONS}
    assert set(dispatch) == known
    for operation in (
        'INST',
        'OBJ',
        'NEWOBJ_EX',
        'EXT1',
        'EXT4',
        'DUP',
        'POP',
    ):
        assert getattr(pickle, operation)[0] not in dispatch
    for operation in ('REDUCE', 'NEWOBJ', 'BUILD', 'SETITEM', 'APPEND'):
        handler = dispatch[getattr(pickle, operation)[0]]
        assert handler.__module__ == unpickler.__name__


@pytest.mark.parametrize('operation', [pickle.REDUCE, pickle.NEWOBJ])
@pytest.mark.parametrize('args', [(), (1 << 42,), ('O',), (b'1' * 8, 'O')])
def test_all_names(operation, args):
    """Neither ours nor those that PyTorch allows make anything of a size."""
    names = {*CONSTRUCTORS, *VALUES, *_get_allowed_globals()}
    names |= {'os.system', 'builtins.eval', 'numpy.zeros', 'numpy.ndarray'}
    for name in sorted(names):
        call = encode(Call(name, args, None, operation))
        value = check(pack(b'\x80\2' + call + pickle.STOP))
        assert count_bytes(value) == 0, name


@pytest.mark.parametrize('operation', [pickle.REDUCE, pickle.NEWOBJ])
def test_what_is_made_cannot_be_called(operation):
    """Methods, arrays and tensors that lie on the stack are no functions."""
    owner = Name('mmengine.logging.history_buffer.HistoryBuffer')
    for value in (
        Call('builtins.getattr', (owner, 'mean')),
        Name('torch.Tensor'),
        Name('numpy.ndarray'),
        Name('torch.FloatStorage'),
    ):
        call = encode(value) + encode((1 << 40,)) + operation
        with pytest.raises(pickle.UnpicklingError, match=NAME):
            load_pickle(call)


def test_torch_is_left_alone():
    """The list of the process stays as it was, and so does `torch.load`."""
    code = """
import torch
load, before = torch.load, torch.serialization.get_safe_globals()
import mmactive
assert torch.serialization.get_safe_globals() == before
import mmengine.runner, mmactive.models, mmactive.engine
added = set(torch.serialization.get_safe_globals()) - set(before)
# PyTorch's own, of modules that mmengine imports
assert all(x.__module__.startswith('torch.') for x in added), added
assert torch.load is load
"""
    subprocess.run([sys.executable, '-c', code], check=True)


# Sizes


def tensor(*args):
    kind = Name('torch.FloatStorage')
    storage = Id(('storage', kind, '0', 'cpu', 8))
    hooks = Call('collections.OrderedDict', ())
    return Call(
        'torch._utils._rebuild_tensor_v2', (storage, *args, False, hooks)
    )


def array(code, shape, data, cls='numpy.ndarray'):
    path = 'numpy._core.multiarray._reconstruct'
    dtype = Call('numpy.dtype', (code, False, True))
    state = (1, shape, dtype, False, data)
    return Call(path, (Name(cls), (0,), b'b'), state)


def test_sound_ones():
    value = load_pickle(
        encode([tensor(2, (2, 2), (1, 3)), array('f4', (2,), b'\0' * 8)])
    )
    assert value[0].tolist() == [[2, 5], [3, 6]]
    assert value[1].tolist() == [0, 0]
    big_endian = array('f4', (1,), b'?\x80\0\0')
    state = (3, '>', None, None, None, -1, -1, 0)
    big_endian.state[2].state = state
    assert load_pickle(encode(big_endian)).tolist() == [1]
    config = Call('mmengine.config.config.ConfigDict', ({'a': 1},))
    assert load_pickle(encode(config)) == ConfigDict(a=1)


HUGE = 1 << 40
CLAIMS = {
    'past the end': tensor(0, (9,), (1,)),
    'offset': tensor(8, (1,), (1,)),
    'stride': tensor(0, (2,), (8,)),
    'negative offset': tensor(-1, (1,), (1,)),
    'negative size': tensor(0, (-1,), (1,)),
    'negative stride': tensor(7, (8,), (-1,)),
    'bool': tensor(0, (True,), (1,)),
    'repeated': tensor(0, (HUGE,), (0,)),
    'overlapping': tensor(0, (1 << 15, 1 << 15), (0, 0)),
    'overflow': tensor(0, (1 << 62, 1 << 62), (0, 0)),
    'empty overflow': tensor(0, (0, 1 << 62, 1 << 62), (0, 0, 0)),
    'dims': tensor(0, (1,) * 100, (1,) * 100),
    'storage': Id(('storage', Name('torch.FloatStorage'), '0', 'cpu', 9)),
    'key': Id(('storage', Name('torch.FloatStorage'), '1', 'cpu', 9)),
    'path': Id(('storage', Name('torch.FloatStorage'), '../x', 'cpu', 8)),
    'array': array('f8', (HUGE,), b'\0' * 8),
    'short array': array('f8', (2,), b'\0' * 8),
    'objects': array('O', (1,), b'\0' * 8),
    'records': array('f8,f8', (1,), b'\0' * 16),
    'no bool': array('?', (1,), b'\2'),
    'empty array': array('f8', (0, 1 << 62, 1 << 62), b''),
    'other class': array('f8', (1,), b'\0' * 8, cls='torch.Tensor'),
    'meta': Call(
        'torch._utils._rebuild_meta_tensor_no_storage',
        (Name('torch.float32'), (HUGE,), (1,), False),
    ),
}


@pytest.mark.parametrize('claim', CLAIMS)
def test_claims(claim):
    """What has more bytes than the file is refused before it is made."""
    with pytest.raises((pickle.UnpicklingError, RuntimeError), match=NAME):
        load_pickle(encode([CLAIMS[claim]]))


def test_containers():
    """Nothing is so deep, or lies in itself, that walking ends in a crash."""
    deep = pickle.EMPTY_TUPLE + pickle.TUPLE1 * 10**6
    with pytest.raises(pickle.UnpicklingError, match='containers'):
        load_pickle(deep)
    # Its hash would exhaust the stack.
    key = pickle.EMPTY_DICT + deep + pickle.NONE + pickle.SETITEM
    with pytest.raises(pickle.UnpicklingError, match='a key'):
        load_pickle(key)
    put, get = pickle.BINPUT + b'\0', pickle.BINGET + b'\0'
    loop = pickle.EMPTY_LIST + put + get + pickle.APPEND
    with pytest.raises(pickle.UnpicklingError, match='containers'):
        load_pickle(loop)


def test_state_of_a_function_cannot_be_set():
    for name in ('builtins.getattr', 'torch.Tensor', 'torch.float32'):
        data = encode(Name(name)) + encode({'__doc__': 1}) + pickle.BUILD
        with pytest.raises(pickle.UnpicklingError, match='state'):
            load_pickle(data)
    with pytest.raises(pickle.UnpicklingError, match='state'):
        load_pickle(encode(Call('collections.OrderedDict', (), {'items': 1})))


# Files


def save(value, **kwargs):
    stream = io.BytesIO()
    torch.save(value, stream, **kwargs)
    return stream.getvalue()


def make_checkpoint():
    """One with all that mmengine saves."""
    buffer = HistoryBuffer([1.5, 2.5], [1, 1])
    return dict(
        meta=dict(epoch=1, seed=3, classes=('a', 'b'), cfg='x = 1'),
        state_dict=torch.nn.BatchNorm2d(3).state_dict(),
        optimizer=dict(state={0: dict(step=torch.tensor(2.0))}),
        message_hub=dict(
            log_scalars=dict(loss=buffer),
            runtime_info=dict(best=np.float32(0.5), n=np.int64(3)),
        ),
        parameter=torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
        bools=torch.tensor([True, False]),
        views=list(torch.arange(6).view(2, 3)),
        large=torch.arange(3).to(torch.uint16),
    )


FORMATS = {
    'zip': {},
    'protocol 5': dict(pickle_protocol=5),
    'legacy': dict(_use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize('kind', FORMATS)
def test_formats(kind):
    expected = make_checkpoint()
    value = load_bytes(save(expected, **FORMATS[kind]))
    assert value['meta'] == expected['meta']
    torch.testing.assert_close(value['state_dict'], expected['state_dict'])
    assert value['state_dict']._metadata == expected['state_dict']._metadata
    info = value['message_hub']['runtime_info']
    assert info == expected['message_hub']['runtime_info']
    buffer = value['message_hub']['log_scalars']['loss']
    assert buffer.statistics('mean') == 2
    assert isinstance(value['parameter'], torch.nn.Parameter)
    for name in ('parameter', 'bools', 'large'):
        assert torch.equal(value[name], expected[name])
    first, second = value['views']
    assert torch.equal(
        torch.stack([first, second]), torch.arange(6).view(2, 3)
    )
    assert first.untyped_storage().data_ptr() == (
        second.untyped_storage().data_ptr()
    )


def cut(data):
    return data[:-50]


def flip(data):
    """Changes a number of the last storage, which zip archives notice."""
    at = data.rindex(torch.arange(6).numpy().tobytes())
    return data[:at] + b'\7' + data[at + 1 :]


def mutate(data, changes):
    """Replaces bytes of a file by others, or inserts or drops some."""
    for place, new, count in changes:
        at = int(place * len(data))
        data = data[:at] + new + data[at + count :]
    return data


ZIP, LEGACY = (
    save(make_checkpoint(), **FORMATS[kind]) for kind in ('zip', 'legacy')
)
SCRIPT = io.BytesIO()
torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), SCRIPT)
FILES = {
    'an empty file': b'',
    'begins with zeros': bytes(999),
    'an HTML page': b'\n<!doctype html><html><body>404</body></html>',
    'an XML file': b'<?xml version="1.0"?><Error>AccessDenied</Error>',
    'a git-lfs pointer': b'version https://git-lfs.github.com/spec/v1\noid x',
    'a JSON file': b'{"a": [1, 2, 3' + b', 4' * 3000 + b']}',
    'a text file': 'Größe: 1\n'.encode() * 999,
    'an image': b'\x89PNG\r\n\x1a\n' + bytes(99),
    'a gzip archive': gzip.compress(ZIP),
    'is cut off': cut(ZIP),
    'cut off or damaged': cut(LEGACY),
    'damaged (the checksum': flip(ZIP),
    'that is damaged': ZIP[:-26] + b'\2' + ZIP[-25:],
    'compressed zip archive': pack(bytes(9999), method=zipfile.ZIP_DEFLATED),
    'not of a checkpoint': pack(b'').replace(b'data.pkl', b'data.txt'),
    'TorchScript': SCRIPT.getvalue(),
    'a pickle that PyTorch has not saved': pickle.dumps(dict(a=1)),
    "none of PyTorch's": bytes(range(255, 100, -1)),
}


@pytest.mark.parametrize('kind', FILES)
def test_files_are_told_apart(kind):
    with pytest.raises((RuntimeError, pickle.UnpicklingError)) as caught:
        load(io.BytesIO(FILES[kind]), name=NAME)
    message = str(caught.value)
    assert message.startswith(NAME)
    assert kind in message
    assert 'weights_only' not in message


def test_other_files(tmp_path):
    with pytest.raises(IsADirectoryError, match='is a folder'):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match='nothing.pth'):
        load(tmp_path / 'nothing.pth')
    safetensors = pytest.importorskip('safetensors.torch')
    data = safetensors.save({'a': torch.arange(3.0)})
    weights = load_bytes(data)['state_dict']
    assert weights['a'].tolist() == [0, 1, 2]
    with pytest.raises(RuntimeError, match='a safetensors file that is cut'):
        load_bytes(data[:-1])
    torch.serialization.set_crc32_options(False)
    try:
        assert load_bytes(save([1])) == [1]
    finally:
        torch.serialization.set_crc32_options(True)


@pytest.mark.parametrize('map_location', ['meta', torch.device('meta')])
def test_map_location(map_location):
    for data in (ZIP, LEGACY):
        value = load(io.BytesIO(data), map_location=map_location)
        assert value['state_dict']['weight'].is_meta
    value = load(io.BytesIO(ZIP), map_location=lambda storage, place: storage)
    assert value['bools'].tolist() == [True, False]
    value = load(io.BytesIO(ZIP), map_location={'cuda:0': 'cpu'})
    assert value['bools'].tolist() == [True, False]


# Fuzzing

integers = st.one_of(
    st.integers(-2, 12), st.sampled_from([HUGE, 1 << 62, 1 << 63, -HUGE])
)
names = st.sampled_from(
    [*CONSTRUCTORS, *VALUES, *_get_allowed_globals(), 'os.system']
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    st.sampled_from(['O', 'f4', '?', 'storage', '0', 'cpu', 'C', 'latin1']),
    st.text(max_size=3),
    st.binary(max_size=16),
    st.builds(Name, names),
    st.lists(integers, max_size=3).map(tuple),
    st.builds(
        tensor,
        integers,
        st.lists(integers, max_size=3).map(tuple),
        st.lists(integers, max_size=3).map(tuple),
    ),
    st.builds(
        array,
        st.sampled_from(['f4', 'O', '?', 'i8', 'V8']),
        st.lists(integers, max_size=2).map(tuple),
        st.binary(max_size=16),
    ),
)


def grow(children):
    values = st.lists(children, max_size=4)
    return st.one_of(
        values,
        values.map(tuple),
        st.dictionaries(st.sampled_from('ab') | integers, children),
        st.builds(
            Call,
            names,
            values.map(tuple),
            st.none() | children,
            st.sampled_from([pickle.REDUCE, pickle.NEWOBJ]),
        ),
        st.builds(Id, children),
    )


@FUZZ
@given(st.recursive(leaves, grow, max_leaves=12))
def test_composed_pickles(value):
    check(pack(b'\x80\2' + encode(value) + pickle.STOP, RECORDS))


changes = st.lists(
    st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)),
    min_size=1,
    max_size=6,
)


@FUZZ
@given(st.sampled_from([ZIP, LEGACY]), changes)
def test_mutated_files(data, changes):
    check(mutate(data, changes))


@FUZZ
@given(changes, st.sampled_from([2, 5]))
def test_mutated_pickles(changes, protocol):
    """With checksums that fit, so that the pickle is read."""
    with zipfile.ZipFile(
        io.BytesIO(save(make_checkpoint(), pickle_protocol=protocol))
    ) as archive:
        names = archive.namelist()
        records = {
            name.rpartition('/')[2]: archive.read(name)
            for name in names
            if '/data/' in name
        }
        data = archive.read(names[0])
    check(pack(mutate(data, changes), records))
