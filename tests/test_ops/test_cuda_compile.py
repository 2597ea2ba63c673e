# Copyright (c) mmactive contributors. All rights reserved.
"""What the CUDA compiler makes of the kernels. Needs nvcc, but no GPU."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from torch.utils import cpp_extension

NVCC = shutil.which('nvcc') or shutil.which(
    'bin/nvcc', path=cpp_extension.CUDA_HOME
)
FOLDER = Path(__file__).parents[2] / 'mmactive/ops/csrc/cuda'
# Of axial_deform_gather:
# 4 dtypes of 4 (double: 2) vector lengths, half dtypes with 2 dtypes of
# offsets; with and without shared memory; forward and backward.
KERNELS = (4 + 2 + 2 * 4 * 2) * 2 * 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NVCC is None, reason='needs nvcc'),
]


def find_cuobjdump():
    """NVIDIA's disassembler, which Triton brings along."""
    path = shutil.which('cuobjdump', path=os.path.dirname(NVCC))
    if path is None:
        triton = pytest.importorskip('triton')
        folder = Path(triton.__file__).parent / 'backends/nvidia/bin'
        path = shutil.which('cuobjdump', path=folder)
    return path or pytest.skip('needs cuobjdump')


def compile_cuda(name, number, folder):
    """Returns the object file of an architecture and the compiler's log."""
    code = f'sm_{number}'
    listed = subprocess.run(
        [NVCC, '--list-gpu-code'], capture_output=True, text=True, check=True
    )
    if code not in listed.stdout.split():
        pytest.skip(f'nvcc does not know {code}')
    source, target = FOLDER / f'{name}.cu', folder / f'{name}.o'
    process = subprocess.run(
        [
            *(NVCC, '-c', source, '-o', target, '-O3', '-std=c++17'),
            *('-DTORCH_TARGET_VERSION=0x020a000000000000', '-DUSE_CUDA'),
            *cpp_extension.COMMON_NVCC_FLAGS,
            *(
                flag
                for folder in cpp_extension.include_paths()
                for flag in ('-isystem', folder)
            ),
            *('-gencode', f'arch=compute_{number},code={code}'),
            *('-Xptxas', '-v'),
        ],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return target, process.stderr


@pytest.fixture(scope='module', params=['80', '90', '100'])
def build(request, tmp_path_factory):
    """Compiles axial_deform_gather."""
    folder = tmp_path_factory.mktemp(request.param)
    return compile_cuda('axial_deform_gather', request.param, folder)


def check_no_register_is_spilled(log, kernels):
    assert 'warning' not in log.lower()
    frames = re.findall(
        r'(\d+) bytes stack frame, (\d+) bytes spill stores, '
        r'(\d+) bytes spill loads',
        log,
    )
    assert len(frames) == kernels
    assert set(frames) == {('0', '0', '0')}


def test_no_register_is_spilled(build):
    _, log = build
    check_no_register_is_spilled(log, KERNELS)


@pytest.mark.parametrize('number', ['80', '90', '100'])
def test_axial_shift(number, tmp_path):
    """4 dtypes, forward and backward."""
    _, log = compile_cuda('axial_shift', number, tmp_path)
    check_no_register_is_spilled(log, 8)


def test_only_the_stable_abi_is_called(build):
    target, _ = build
    lines = subprocess.check_output(
        ['nm', '--undefined-only', target], text=True
    ).splitlines()
    names = {line.split()[-1] for line in lines}
    assert {'aoti_torch_get_current_cuda_stream', 'cudaLaunchKernelExC'} <= (
        names
    )
    # Mangled names of at:: and c10::
    assert not [name for name in names if re.match(r'_Z\w*?(2at|3c10)', name)]


def test_memory_is_accessed_in_vectors(build):
    """16 bytes at a time, and no array in local memory."""
    target, _ = build
    process = subprocess.run(
        [find_cuobjdump(), '--dump-sass', target],
        capture_output=True,
        text=True,
        check=True,
    )
    kernels = {}
    for part in process.stdout.split('Function : ')[1:]:
        # Such as forward_kernelIffLi4ELb1E: dtypes, channels, is staged.
        found = re.search(
            r'(forward|backward)_kernelI(\w+?)Li(\d+)ELb(\d)', part
        )
        opcodes = re.findall(r'\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]+)', part)
        kernels[found.groups()] = opcodes
    assert len(kernels) == KERNELS
    for name, opcodes in kernels.items():
        assert not {o for o in opcodes if re.match('(LD|ST)L', o)}, name

    def has(opcodes, pattern):
        return any(re.fullmatch(pattern, opcode) for opcode in opcodes)

    bfloat16 = 'N3c108BFloat16Ef'  # with a float32 offset
    for dtypes, channels in (
        ('ff', '4'),
        ('ff', '8'),
        ('dd', '2'),
        (bfloat16, '8'),
    ):
        forward = kernels['forward', dtypes, channels, '1']
        assert has(forward, r'LDGSTS\..*128'), (dtypes, channels)
        assert has(forward, r'LDS\.128'), (dtypes, channels)
        assert has(forward, r'STG\..*128'), (dtypes, channels)
        backward = kernels['backward', dtypes, channels, '1']
        assert has(backward, r'LDG\..*128.*'), (dtypes, channels)
        assert has(backward, r'STS\.128'), (dtypes, channels)
        assert has(backward, r'STG\..*128'), (dtypes, channels)
