# Copyright (c) mmactive contributors. All rights reserved.
"""Builds mmactive and its extension ``mmactive._ext``.

Environment variables:
    MMACTIVE_WITH_OPS: ``0`` skips the extension. The operator then runs as
        plain PyTorch code, correct but slower.
    FORCE_CUDA: ``1`` builds the CUDA kernels where no GPU can be seen.
    TORCH_CUDA_ARCH_LIST: Architectures of the CUDA kernels, as in ``8.0;9.0``.
    MAX_JOBS: Number of compilers that run at a time.
"""

import os
import re
import shutil
from pathlib import Path
from runpy import run_path

from setuptools import Command, Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools < 70.1, good enough for `build_ext --inplace`
    bdist_wheel = Command

try:
    import torch
    from torch.utils import cpp_extension
except ImportError as error:
    torch = None
    torch_error = error

ROOT = Path(__file__).resolve().parent
CSRC = Path('mmactive', 'ops', 'csrc')


def read_constant(file, name):
    """Reads what is defined in a module that needs nothing installed."""
    return run_path(ROOT / 'mmactive' / file)[name]


def read_requirements(name):
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


class CannotBuild(build_ext):
    """Stops with an explanation once something is really to be compiled."""

    reason = ''

    def run(self):
        raise SystemExit(
            f'\nmmactive._ext cannot be compiled: {self.reason}.\n'
            'Setting MMACTIVE_WITH_OPS=0 goes without it.\n'
        )


class BuildPy(build_py):
    """Adds configs, demos, tools and the model index as ``mmactive/.mim``.

    mmengine looks there for ``_base_ = 'mmactive::...'``. An editable install
    gets links, so that it follows the source folder.
    """

    names = ('configs', 'demo', 'tools', 'model-index.yml')

    def run(self):
        super().run()
        if self.editable_mode:
            target = ROOT / 'mmactive' / '.mim'
            target.mkdir(exist_ok=True)
            for name in self.names:
                (target / name).unlink(missing_ok=True)
                (target / name).symlink_to(Path('..', '..', name))
            return
        target = Path(self.build_lib, 'mmactive', '.mim')
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        ignore = shutil.ignore_patterns('__pycache__')
        for name in self.names:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target / name, ignore=ignore)
            else:
                shutil.copy(ROOT / name, target / name)


class Wheel(bdist_wheel):
    """Tags the wheel by its platform only: ``_ext`` never calls Python.

    `make wheel` then finds out how old that platform may be.
    """

    def get_tag(self):
        return 'py3', 'none', super().get_tag()[2]


def list_gpus():
    """Returns those of PyTorch's own kernels, as TORCH_CUDA_ARCH_LIST."""
    # That of torch.cuda is empty without a GPU in older versions.
    numbers = re.findall(r'sm_(\d+)(\d)', torch._C._cuda_getArchFlags())
    return ';'.join(f'{major}.{minor}' for major, minor in numbers) + '+PTX'


def make_extension():
    """Returns the extension and the command that builds it."""
    # What is built against a later PyTorch loads in this one, too.
    minimum = read_constant('utils/dependencies.py', 'TORCH_WITH_KERNELS')
    with_cuda = False
    if torch is None:
        CannotBuild.reason = (
            'it is compiled against the installed PyTorch, which this build '
            f'does not see ({torch_error}). Install PyTorch first, and run pip'
            ' with --no-build-isolation, as in\n'
            '    pip install -v -e . --no-build-isolation'
        )
    elif torch.torch_version.TorchVersion(torch.__version__) < minimum:
        CannotBuild.reason = (
            f'it needs torch>={minimum}, but torch {torch.__version__} '
            'is installed, on which the operators run as plain PyTorch code'
        )
    else:
        with_cuda = torch.cuda.is_available() or os.getenv('FORCE_CUDA') == '1'
        if with_cuda and not torch.version.cuda:
            CannotBuild.reason = (
                'the CUDA kernels need a PyTorch for CUDA, but '
                f'{torch.__version__} is one for CPUs'
            )
        elif with_cuda and cpp_extension.CUDA_HOME is None:
            CannotBuild.reason = (
                'the CUDA kernels need nvcc, of the CUDA version of PyTorch '
                f'(CUDA {torch.version.cuda}). Set CUDA_HOME to that toolkit, '
                'or\nset CUDA_VISIBLE_DEVICES= and not FORCE_CUDA to compile '
                'for the CPU only'
            )
    if CannotBuild.reason:
        return Extension('mmactive._ext', sources=[]), CannotBuild

    sources = [*CSRC.glob('*.cpp'), *CSRC.glob('cpu/*.cpp')]
    include_dirs = [str(ROOT / CSRC)]
    # What of PyTorch the extension may use.
    major, minor = map(int, minimum.split('.'))
    target = (major << 56) + (minor << 48)
    define_macros = [('TORCH_TARGET_VERSION', f'0x{target:016x}')]
    # collect_env reads these from the library even if it does not load.
    define_macros += [
        ('MMACTIVE_TORCH_VERSION', f'{minimum}+'),
        ('MMACTIVE_HEADERS_VERSION', torch.__version__),
        ('MMACTIVE_CUDA_VERSION', torch.version.cuda if with_cuda else 'none'),
    ]
    # Newer standards refer to newer versions of libstdc++.
    compile_args = {'cxx': ['-std=c++17', '-O3', '-g0', '-fvisibility=hidden']}
    libraries = ['torch_cpu']
    extension = cpp_extension.CppExtension
    if with_cuda:
        extension = cpp_extension.CUDAExtension
        sources += CSRC.glob('cuda/*.cu')
        define_macros.append(('USE_CUDA', None))
        compile_args['nvcc'] = ['-std=c++17', '-O3']
        libraries.append('torch_cuda')
        if not torch.cuda.is_available():
            # PyTorch takes the GPUs that are there, and fails without any.
            os.environ['TORCH_CUDA_ARCH_LIST'] = (
                os.getenv('TORCH_CUDA_ARCH_LIST') or list_gpus()
            )
    ext_module = extension(
        'mmactive._ext',
        sources=sorted(map(str, sources)),
        depends=sorted(map(str, CSRC.rglob('*.h'))),
        include_dirs=include_dirs,
        define_macros=define_macros,
        extra_compile_args=compile_args,
        extra_link_args=['-s'],
    )
    # Nothing of Python or c10 is needed, and the runtimes of OpenMP and CUDA
    # are those that PyTorch has loaded.
    ext_module.libraries = libraries
    command = cpp_extension.BuildExtension.with_options(
        no_python_abi_suffix=True
    )
    return ext_module, command


version = read_constant('version.py', '__version__')
ext_modules = []
cmdclass = {'bdist_wheel': Wheel, 'build_py': BuildPy}
if os.getenv('MMACTIVE_WITH_OPS', '1') != '0':
    ext_module, cmdclass['build_ext'] = make_extension()
    ext_modules.append(ext_module)
    if 'torch_cuda' in ext_module.libraries:  # needs PyTorch's build for CUDA
        version += f'+cu{torch.version.cuda.partition(".")[0]}'

setup(
    name='mmactive',
    version=version,
    description='ActiveMLP and its Active Token Mixer for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    author='mmactive contributors',
    license='Apache-2.0',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: C++',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: 3.14',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    keywords='computer vision, image classification, object detection, '
    'semantic segmentation, OpenMMLab',
    python_requires='>=3.10',
    packages=find_packages(include=['mmactive', 'mmactive.*']),
    install_requires=read_requirements('runtime.txt'),
    extras_require={
        'all': read_requirements('mminstall.txt')
        + read_requirements('optional.txt'),
        'demo': read_requirements('demo.txt'),
        'docs': read_requirements('docs.txt'),
        'tests': read_requirements('tests.txt'),
    },
    ext_modules=ext_modules,
    cmdclass=cmdclass,
    zip_safe=False,
)
