# Copyright (c) mmactive contributors. All rights reserved.
"""Tells what is installed, what is broken and what to run to mend it.

Run ``python -m mmactive.utils.collect_env``. The exit code is 0 if all is
fine and 1 if there is something to mend.

Packages are tried in processes of their own: one that does not import, or a
library that crashes, is what this is for.
"""

import importlib.util
import json
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from mmactive.utils.dependencies import (
    SUPPORTED,
    TORCH_MINIMUM,
    TORCH_WITH_KERNELS,
    describe_supported,
    find_version,
    is_installed,
    is_supported,
    mmcv_compile_command,
)

# What mmcv says of a build for the CPU.
NO_CUDA = 'not available'

EXTENSION = Path(__file__).resolve().parents[1] / '_ext.so'
PIP = f'{sys.executable} -m pip'

# Distributions of the past that install the same modules.
PREDECESSORS = {'mmcv': ('mmcv-full',)}

# What is tried, and code that shows the result.
PROBES = {
    'torch': """
import torch
torch.ones(1).numpy()
gpus = range(torch.cuda.device_count())
show(dict(version=torch.__version__, cuda=torch.version.cuda,
          gpus=[torch.cuda.get_device_name(gpu) for gpu in gpus]))
""",
    'mmengine': """
from mmengine.utils.dl_utils import collect_env
show({name: str(value) for name, value in collect_env().items()})
""",
    'mmcv._ext': """
import mmactive
from mmcv import _ext
show(dict(compiled=not _ext.__file__.endswith('.py'),
          compiler=_ext.get_compiler_version(),
          cuda=_ext.get_compiling_cuda_version()))
""",
    'mmactive._ext': f"""
import torch
torch.ops.load_library({str(EXTENSION)!r})
show(torch._C._dispatch_has_kernel_for_dispatch_key(
    'mmactive::axial_deform_gather', 'CUDA'))
""",
    # In one process, since each takes seconds and shares most of its imports
    # with the others. Nearly all that can be missing is imported by models.
    'imports': """
import importlib, importlib.util
errors = {}
for name in ('torchvision', 'cv2', 'mmactive', 'mmcv', 'mmpretrain.models',
             'mmdet.models', 'mmseg.models', 'mmactive.models'):
    if importlib.util.find_spec(name.partition('.')[0]):
        try:
            importlib.import_module(name)
        except Exception as error:
            errors[name] = f'{type(error).__name__}: {error}'
show(errors)
""",
}
NEW_LINE = '\n' + ' ' * 18
SHOW = 'import json\ndef show(value): print("\\n" + json.dumps(value))\n'


class Outcome(NamedTuple):
    """What a probe printed or, where that is None, why it failed."""

    value: Any = None
    error: Optional[str] = None


class Problem(NamedTuple):
    """Something that is wrong and what to run to mend it."""

    what: str
    mend: str


def probe(code: str) -> Outcome:
    """Runs code in a Python process of its own."""
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', SHOW + code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors='replace',
    )
    if result.returncode == 0:
        return Outcome(json.loads(result.stdout.splitlines()[-1]))
    if result.returncode < 0:
        name = signal.Signals(-result.returncode).name
        return Outcome(error=f'Python crashed ({name})')
    return Outcome(error=result.stderr.strip().splitlines()[-1])


def run_version(*command: str) -> str:
    """Returns the line of a compiler's ``--version`` that has a number."""
    if shutil.which(command[0]) is None:
        return 'not found'
    result = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in result.stdout.splitlines() if '.' in line]
    return lines[0].strip() if lines else 'does not run'


def read_build_info() -> Dict[str, str]:
    """Reads what ``mmactive._ext`` was built for, without loading it.

    Returns:
        dict[str, str]: ``torch``, ``cuda`` ('none' without CUDA kernels) and
        ``compiler``; empty without an extension.
    """
    if not EXTENSION.is_file():
        return {}
    found = re.search(rb'MMACTIVE_BUILD_INFO ([^\0]+)', EXTENSION.read_bytes())
    if found is None:
        return {}
    text = found.group(1).decode(errors='replace')
    return dict(item.split('=', 1) for item in text.split(';'))


def find_distributions() -> Dict[str, List[Tuple[str, str]]]:
    """Lists the distributions that install each of the packages.

    Returns:
        dict[str, list[tuple[str, str]]]: Import name -> distribution names
        and versions. One is right, two overwrite each other's files.
    """
    wanted = {
        distribution: name
        for name, supported in SUPPORTED.items()
        for distribution in (*supported, *PREDECESSORS.get(name, ()))
    }
    found = defaultdict(set)
    for distribution in metadata.distributions():
        # The name is missing where pip was interrupted.
        name = (distribution.metadata['Name'] or '').lower().replace('_', '-')
        if name in wanted:
            found[wanted[name]].add((name, distribution.version))
    return {name: sorted(found[name]) for name in SUPPORTED}


def install_command(name: str, fork: bool) -> str:
    """Returns the command that installs an OpenMMLab package."""
    return f'{PIP} install "{"".join(list(SUPPORTED[name].items())[fork])}"'


def build_command() -> str:
    """Returns the command that builds ``mmactive._ext``."""
    folder = EXTENSION.parents[1]
    is_source = (folder / 'setup.py').is_file()
    source = folder if is_source else '<folder of the source of mmactive>'
    return f'cd {source} && {PIP} install -v -e . --no-build-isolation'


def find_import_error(
    outcomes: Dict[str, Outcome], name: str
) -> Optional[str]:
    """Returns why a package could not be imported, None if it could."""
    imports = outcomes['imports']
    return imports.error or imports.value.get(name)


def is_older(version: str, minimum: str) -> bool:
    """Compares the first two numbers of two versions."""
    release, other = (
        tuple(map(int, re.findall(r'\d+', text)[:2]))
        for text in (version, minimum)
    )
    return release < other


def check_torch(outcomes: Dict[str, Outcome]) -> List[Problem]:
    """Looks for problems of PyTorch and the libraries beside it."""
    torch = outcomes['torch']
    mend = (
        f'{PIP} install "torch==2.14.1" "torchvision==0.29.1", and then '
        'this diagnosis again'
    )
    if torch.error:
        return [Problem(f'torch does not work: {torch.error}', mend)]
    problems = []
    version = torch.value['version']
    if is_older(version, TORCH_MINIMUM):
        what = f'torch {version} is older than {TORCH_MINIMUM}'
        problems.append(Problem(what, mend))
    error = find_import_error(outcomes, 'torchvision')
    if error:
        what = f'torchvision does not import: {error}'
        mend = f'{PIP} install --upgrade "torch=={version}" torchvision'
        problems.append(Problem(what, mend))
    return problems


def check_packages(
    outcomes: Dict[str, Outcome],
    distributions: Dict[str, List[Tuple[str, str]]],
) -> List[Problem]:
    """Looks for missing, wrong and conflicting OpenMMLab packages."""
    problems = []
    names = [name for found in distributions.values() for name, _ in found]
    forks = [name for name in names if name.startswith('onedl-')]
    fork = len(forks) > len(names) / 2
    mixed = 0 < len(forks) < len(names)
    if mixed:
        what = (
            f"OpenMMLab's packages and the forks are mixed ({', '.join(names)}"
            '); they install the same modules'
        )
        mend = (
            f'{PIP} uninstall -y {" ".join(names)}, and install one set: '
            'requirements/mminstall.txt or requirements/mminstall_onedl.txt'
        )
        problems.append(Problem(what, mend))
    for name, found in distributions.items():
        install = install_command(name, fork)
        version = find_version(name)
        if len(found) > 1 and not mixed:
            listing = ' and '.join(' '.join(item) for item in found)
            what = f'{name} is installed more than once: {listing}'
            uninstall = ' '.join(sorted({item[0] for item in found}))
            mend = f'{PIP} uninstall -y {uninstall} && {install}'
            problems.append(Problem(what, mend))
        elif version is None and name in ('mmengine', 'mmcv'):
            what = f'{name} is not installed; all but mmactive.ops needs it'
            problems.append(Problem(what, install))
        elif version is not None and not is_supported(name, version):
            what = (
                f'{name} {version} is installed, but mmactive supports '
                f'{describe_supported(name)}'
            )
            problems.append(Problem(what, install))
    if 'mmengine' in names and not is_installed('pkg_resources'):
        what = 'mmengine needs pkg_resources, which setuptools 82 dropped'
        problems.append(Problem(what, f'{PIP} install "setuptools<81"'))
    error = find_import_error(outcomes, 'cv2')
    if error:
        what = f'OpenCV does not import: {error}'
        mend = (
            f'{PIP} uninstall -y opencv-python && '
            f'{PIP} install --force-reinstall opencv-python-headless'
        )
        problems.append(Problem(what, mend))
    return problems


def check_extensions(outcomes: Dict[str, Outcome]) -> List[Problem]:
    """Looks for extensions that do not load or lack CUDA kernels."""
    problems = []
    torch = outcomes['torch'].value
    gpus = bool(torch['gpus'])

    mmcv, compiling = outcomes['mmcv._ext'], mmcv_compile_command()
    if mmcv.error and is_installed('mmcv'):
        if 'torchvision' in mmcv.error:
            what = 'mmcv has no compiled operators, and no torchvision for '
            what += f'those of mmactive: {mmcv.error}'
            problems.append(Problem(what, f'{PIP} install torchvision'))
        else:
            problems.append(
                Problem(explain('mmcv._ext', mmcv.error), compiling)
            )
    elif gpus and mmcv.value and mmcv.value['cuda'] == NO_CUDA:
        if mmcv.value['compiled']:
            what = 'mmcv._ext has no CUDA kernels, and there is a GPU'
            mend = f'export FORCE_CUDA=1; {compiling}'
        else:
            what = 'torchvision has no CUDA kernels, and there is a GPU'
            mend = f'{PIP} install --force-reinstall --no-deps torchvision'
        problems.append(Problem(what, mend))

    mmactive, mend = outcomes['mmactive._ext'], build_command()
    if is_older(torch['version'], TORCH_WITH_KERNELS):
        what = (
            f'torch {torch["version"]} is older than {TORCH_WITH_KERNELS}, '
            'which mmactive._ext needs; a slower reference replaces it'
        )
        mend = f'{PIP} install --upgrade torch torchvision'
        problems.append(Problem(what, mend))
    elif not EXTENSION.is_file():
        what = 'mmactive._ext is not built; a slower reference replaces it'
        if shutil.which('c++') is None:
            what += ', and there is no C++ compiler to build it with'
            mend = f'install one (on Debian and Ubuntu: g++), then {mend}'
        problems.append(Problem(what, mend))
    elif mmactive.error:
        what = f'mmactive._ext does not load: {mmactive.error}'
        problems.append(Problem(what, mend))
    elif gpus and not mmactive.value:
        what = 'mmactive._ext has no CUDA kernels, and there is a GPU'
        problems.append(Problem(what, f'export FORCE_CUDA=1; {mend}'))
    return problems


def explain(extension: str, error: str) -> str:
    """Says in words what the usual errors of an extension mean."""
    if 'undefined symbol' in error:
        return f'{extension} was built for another PyTorch: {error}'
    if 'No module named' in error:
        return f'{extension} was not built, as if PyTorch was missing: {error}'
    return f'{extension} does not load: {error}'


def check_imports(outcomes: Dict[str, Outcome]) -> List[Problem]:
    """Looks for packages that fail for none of the other reasons."""
    if outcomes['imports'].error:
        return [Problem(outcomes['imports'].error, 'import them one by one')]
    problems = []
    for name, error in outcomes['imports'].value.items():
        missing = re.search(r"No module named '(\w+)'", error)
        mend = f'look at `{sys.executable} -c "import {name}"`'
        if missing:
            mend = f'{PIP} install {missing[1]}'
        problems.append(Problem(f'{name} does not import: {error}', mend))
    return problems


def find_problems(outcomes: Dict[str, Outcome]) -> List[Problem]:
    """Lists what is to mend, in the order in which to mend it.

    What can follow from a problem is not looked for before that is mended.
    """
    return (
        check_torch(outcomes)
        or check_packages(outcomes, find_distributions())
        or check_extensions(outcomes)
        or check_imports(outcomes)
    )


def describe(outcomes: Dict[str, Outcome]) -> Dict[str, Dict[str, str]]:
    """Puts what was found into words: section -> item -> description."""
    environment = dict(outcomes['mmengine'].value or {'Python': sys.version})
    for name in ('numpy_random_seed', 'PyTorch compiling details'):
        environment.pop(name, None)
    environment['Executable'] = sys.executable
    environment['Platform'] = platform.platform()
    environment['C++ compiler'] = run_version('c++', '--version')
    environment['NVCC'] = run_version('nvcc', '--version')

    packages = {}
    torch = outcomes['torch'].value
    if torch is None:
        packages['torch'] = f'does not work: {outcomes["torch"].error}'
    else:
        gpus = ', '.join(torch['gpus']) or 'no GPU'
        packages['torch'] = f'{torch["version"]}, CUDA {torch["cuda"]}, {gpus}'
    for name, found in find_distributions().items():
        version = find_version(name)
        lines = [f'supported: {describe_supported(name)}']
        if version is None:
            lines.insert(0, 'not installed')
        else:
            listing = ', '.join(' '.join(item) for item in found)
            folder = Path(importlib.util.find_spec(name).origin).parent
            lines.insert(0, f'{version} ({listing}) in {folder}')
        packages[name] = NEW_LINE.join(lines)

    mmcv, kernels = outcomes['mmcv._ext'], outcomes['mmactive._ext']
    extensions = {
        'mmcv._ext': mmcv.error,
        'mmactive._ext': kernels.error or describe_cuda(kernels.value),
    }
    if mmcv.value:
        by = 'compiled by ' if mmcv.value['compiled'] else ''
        extensions['mmcv._ext'] = (
            f'{describe_cuda(mmcv.value["cuda"] != NO_CUDA)}'
            f'{NEW_LINE}{by}{mmcv.value["compiler"]}'
        )
    if EXTENSION.is_file():
        built = read_build_info().items()
        built_for = ', '.join(' '.join(item) for item in built)
        extensions['mmactive._ext'] += (
            f'{NEW_LINE}built for {built_for or "?"}'
        )
    else:
        extensions['mmactive._ext'] = 'not built'
    return {
        'Environment': environment,
        'Packages': packages,
        'Extensions': extensions,
    }


def describe_cuda(kernels: bool) -> str:
    """Says of an extension that loads what it has kernels for."""
    return f'loads, {"with" if kernels else "without"} CUDA kernels'


def main() -> int:
    """Prints the report.

    Returns:
        int: 0 if all is fine, 1 if there is something to mend.
    """
    with ThreadPoolExecutor() as pool:
        outcomes = dict(zip(PROBES, pool.map(probe, PROBES.values())))
    for section, items in describe(outcomes).items():
        print(section)
        for name, text in items.items():
            print(f'  {name:<15} {text}')
    problems = find_problems(outcomes)
    if not problems:
        print('Nothing to mend.')
        return 0
    print('To mend, in this order:')
    for number, problem in enumerate(problems, 1):
        print(f'  {number}. {problem.what}')
        print(f'     -> {problem.mend}')
    return 1


if __name__ == '__main__':
    sys.exit(main())
