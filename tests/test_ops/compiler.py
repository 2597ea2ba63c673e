# Copyright (c) mmactive contributors. All rights reserved.
"""Compiles what the tests need in C++."""

import os
import subprocess

from torch.utils import cpp_extension


def compile_library(source, folder, *flags):
    """Returns the path of the library, for ``torch.ops.load_library``."""
    library = folder / f'{source.stem}.so'
    process = subprocess.run(
        [
            *(os.getenv('CXX', 'c++'), '-std=c++17', '-fPIC', *flags),
            '-DTORCH_TARGET_VERSION=0x020a000000000000',
            *('-shared', source, '-o', library),
            *(f'-I{path}' for path in cpp_extension.include_paths()),
            *(f'-L{path}' for path in cpp_extension.library_paths()),
            '-ltorch_cpu',
        ],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return library
