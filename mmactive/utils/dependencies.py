# Copyright (c) mmactive contributors. All rights reserved.
"""The OpenMMLab packages mmactive works with, and their supported versions.

Uses the standard library alone until there is a version to compare, so that it
can be imported in any environment.
"""

import importlib.util
import re
import sys
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Dict, Iterator, Optional

DIAGNOSIS = 'mmactive.utils.collect_env'
HINT = f'`python -m {DIAGNOSIS}` tells what to do.'

# Import name -> distribution name -> supported versions. The second of each is
# the maintained fork. Both install the same modules, so that one environment
# holds one of them, and the versions tell them apart.
SUPPORTED: Dict[str, Dict[str, str]] = {
    'mmengine': {
        'mmengine': '>=0.10.4,<0.10.8',
        'onedl-mmengine': '>=0.10.12,<0.11.0',
    },
    # mmcv is mmcv-lite with compiled operators, whose place others take where
    # they are missing (mmactive.mmcv_ops).
    'mmcv': {
        'mmcv-lite': '>=2.1.0,<2.2.0',
        'onedl-mmcv': '>=2.3.6,<2.4.0',
        'mmcv': '>=2.1.0,<2.2.0',
    },
    'mmpretrain': {
        'mmpretrain': '>=1.2.0,<1.3.0',
        'onedl-mmpretrain': '>=1.3.6,<1.4.0',
    },
    'mmdet': {
        'mmdet': '>=3.3.0,<3.4.0',
        'onedl-mmdetection': '>=3.5.1,<3.6.0',
    },
    'mmseg': {
        'mmsegmentation': '>=1.2.2,<1.3.0',
        'onedl-mmsegmentation': '>=1.4.2,<1.5.0',
    },
}
TORCH_MINIMUM = '2.4'
# The first with all of the stable ABI that the kernels are built on. On older
# ones the operators run as plain PyTorch code.
TORCH_WITH_KERNELS = '2.10'


def is_diagnosis() -> bool:
    """Tells whether ``python -m mmactive.utils.collect_env`` is starting.

    Python imports ``mmactive`` before it runs that module, and must get
    through it even where the dependencies are missing or broken. While it
    does, ``sys.argv[0]`` is ``-m``.
    """
    # Python 3.9 has no `orig_argv`; any `-m` is taken for the diagnosis then.
    command = getattr(sys, 'orig_argv', [DIAGNOSIS])
    return sys.argv[:1] == ['-m'] and DIAGNOSIS in command


def is_installed(name: str) -> bool:
    """Tells whether a top-level package can be found, without importing it."""
    if name in sys.modules:
        return sys.modules[name] is not None
    spec = importlib.util.find_spec(name)
    # A folder of that name without an __init__.py has no origin.
    return spec is not None and spec.origin is not None


def find_version(name: str) -> Optional[str]:
    """Finds the version of an OpenMMLab package without importing it.

    Importing mmdet, mmseg and mmpretrain takes seconds.

    Args:
        name (str): Import name, a key of :data:`SUPPORTED`.

    Returns:
        str | None: The module's ``__version__``, or else the version of an
        installed distribution of that module. None if it is not installed.
    """
    if not is_installed(name):
        return None
    if hasattr(sys.modules.get(name), '__version__'):
        return sys.modules[name].__version__
    origin = importlib.util.find_spec(name).origin
    for file in (Path(origin).with_name('version.py'), Path(origin)):
        if file.is_file():
            text = file.read_text(encoding='utf-8', errors='replace')
            found = re.search(
                r'^__version__\s*=\s*[\'"](.+?)[\'"]', text, re.MULTILINE
            )
            if found:
                return found[1]
    # The forks' modules look up the version of their distribution.
    for distribution in SUPPORTED[name]:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def is_supported(name: str, version: str) -> bool:
    """Tells whether the version lies in one of the supported ranges."""
    from packaging.specifiers import SpecifierSet

    return any(
        SpecifierSet(supported).contains(version, prereleases=True)
        for supported in SUPPORTED[name].values()
    )


def describe_supported(name: str) -> str:
    """Returns the supported distributions of a package, for messages."""
    return ' or '.join(
        distribution + supported
        for distribution, supported in SUPPORTED[name].items()
    )


def check_versions() -> None:
    """Checks PyTorch and the installed OpenMMLab packages.

    A package that is not installed is not an error: the operator needs PyTorch
    alone, and a user of one of the libraries need not have the others.

    Raises:
        ImportError: If a package has an unsupported version. The message names
            the package, the version found and the supported range.
    """
    for name in SUPPORTED:
        version = find_version(name)
        if version is not None and not is_supported(name, version):
            raise ImportError(
                f'mmactive supports {describe_supported(name)}, but {name} '
                f'{version} is installed. {HINT}'
            )

    from torch.torch_version import TorchVersion, __version__

    if TorchVersion(__version__) < TORCH_MINIMUM:
        raise ImportError(
            f'mmactive supports torch>={TORCH_MINIMUM}, but torch '
            f'{__version__} is installed. {HINT}'
        )


def mmcv_compile_command() -> str:
    """Returns the command that compiles mmcv for the installed PyTorch.

    From a folder of its own: pip keeps wheels by mmcv's version alone, and
    would hand out one that was compiled against another PyTorch. The sources
    ask for C++17, and the headers of a current PyTorch for C++20.
    """
    name = 'onedl-mmcv' if is_fork_installed() else 'mmcv'
    supported = SUPPORTED['mmcv'][name]
    pip = f'{sys.executable} -m pip'
    return ' && '.join(
        (
            f'{pip} install "setuptools==80.*" wheel ninja',
            f'{pip} download --no-deps --no-build-isolation --no-binary '
            f'{name} --dest mmcv_source "{name}{supported}"',
            'tar --directory mmcv_source --strip-components 1 --extract '
            '--file mmcv_source/*.tar.gz',
            'sed -i s/c++17/c++20/ mmcv_source/setup.py',
            f'{pip} uninstall -y mmcv-lite {name}',
            f'MMCV_WITH_OPS=1 {pip} install --no-build-isolation --no-deps '
            './mmcv_source',
        )
    )


def is_fork_installed() -> bool:
    """Tells whether mmcv is the maintained fork's."""
    try:
        metadata.version('onedl-mmcv')
    except metadata.PackageNotFoundError:
        return False
    return True


@contextmanager
def import_hint() -> Iterator[None]:
    """Makes an ImportError raised inside point to the diagnosis.

    Raises:
        ImportError: The one raised inside, with the hint added.
    """
    try:
        yield
    except ImportError as error:
        if HINT in str(error):
            raise
        raise type(error)(
            f'{error}. {HINT}', name=error.name, path=error.path
        ) from error
