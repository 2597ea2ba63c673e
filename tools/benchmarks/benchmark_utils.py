# Copyright (c) mmactive contributors. All rights reserved.
"""What the benchmarks of the operator and of the models have in common."""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer

from mmactive.ops import axial_deform_gather  # noqa: F401, registers it

PACKAGES = (
    'torch',
    'triton',
    'torchvision',
    'timm',
    'mmcv',
    'mmpretrain',
    'mmdet',
    'onnxruntime',
)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Makes a parser with the arguments that all benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs', 'benchmark')
    )
    parser.add_argument(
        '--name',
        help='of the files in OUT; default: the benchmark and the device',
    )
    parser.add_argument(
        '--plot',
        type=Path,
        metavar='JSON',
        help='only draw the results of an earlier run again, beside its file',
    )
    return parser


def require_kernel(device: str) -> None:
    """Stops if the operator would run as the PyTorch reference.

    Raises:
        SystemExit: If no kernel was built for the device.
    """
    if not torch._C._dispatch_has_kernel_for_dispatch_key(
        'mmactive::axial_deform_gather', device.upper()
    ):
        raise SystemExit(
            f'mmactive was built without kernels for {device}, and its '
            'PyTorch reference is not what is to be measured. Build them with '
            '`python setup.py build_ext --inplace`.'
        )


def describe_run(device: str) -> dict:
    """Prints and returns where, with what, when and how numbers are taken."""
    versions = {'python': platform.python_version()}
    for package in ('mmactive', *PACKAGES):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    processor = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith('model name'):
                processor = line.partition(':')[2].strip()
                break
    threads = torch.get_num_threads()
    run = dict(
        date=datetime.date.today().isoformat(),
        machine=f'{processor}, {platform.machine()}, '
        f'{torch.backends.cpu.get_cpu_capability()}, '
        f'{threads} thread{"s" if threads > 1 else ""}',
        versions=versions,
        command=shlex.join(['python', *sys.argv]),
    )
    if device == 'cuda':
        run['machine'] = (
            f'{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, '
            f'driver {_find_driver()}'
        )
    print('\n'.join(f'{key}: {value}' for key, value in run.items()))
    return run


def _find_driver() -> str:
    """Returns the version of NVIDIA's driver."""
    command = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv']
    try:
        output = subprocess.check_output(command, text=True)
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
    return output.split()[-1]


class Measurement(NamedTuple):
    """What :func:`measure` found for one variant."""

    seconds: float  # of a call: the median of the turns
    mode: str  # 'graph' (a CUDA graph) or 'eager'


# The CUDA paths of this module have not run on a GPU yet.


def use_stream(device: str) -> torch.cuda.StreamContext:
    """Makes a stream other than the default one the current one.

    Only such a stream can be captured, and the backward pass runs on the
    stream of the forward pass. So everything that is measured runs there.
    """
    stream = torch.cuda.Stream() if device == 'cuda' else None
    return torch.cuda.stream(stream)  # does nothing for None


def _capture(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """Returns a function that replays the calls as one CUDA graph.

    The GPU then runs kernel after kernel, and no time of Python or of launches
    is in between. Raises a RuntimeError if a call cannot be captured.
    """
    for call in calls:
        call()  # warms up
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        # Outputs live as long as the graph: each call writes memory of its
        # own, which is not in the cache from the call before it.
        outputs = [call() for call in calls]

    def replay(outputs=outputs):
        graph.replay()

    return replay


def _time(function: Callable[[], object], number: int, device: str) -> float:
    """Returns the seconds that one of ``number`` calls takes."""
    if device == 'cuda':
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(number):
            function()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / number
    timer = Timer(
        'function()',
        globals={'function': function},
        num_threads=torch.get_num_threads(),
    )
    return timer.timeit(number).median


def measure(
    variants: Dict[str, Sequence[Callable[[], object]]],
    device: str,
    rounds: int,
    min_seconds: float = 0.0,
    graph: bool = False,
) -> Dict[str, Measurement]:
    """Times functions against each other.

    They take turns, so that whatever else the machine does hits all of them.

    Args:
        variants (dict): Names and the calls to time. Several calls of one
            variant, on tensors of their own, follow each other, so that the
            tensors do not stay in the cache.
        device (str): 'cpu' or 'cuda'.
        rounds (int): How many turns each variant has.
        min_seconds (float): How long one turn lasts at least, by repeating
            the calls. Defaults to 0: once.
        graph (bool): Whether to capture the calls as CUDA graphs, if the
            device is 'cuda' and as far as that works. Defaults to False.

    Returns:
        dict: A :class:`Measurement` for each name.
    """
    functions, modes, numbers = {}, {}, {}
    for name, calls in variants.items():

        def run_all(calls=calls):
            for call in calls:
                call()

        # A single call needs no loop around it.
        functions[name] = calls[0] if len(calls) == 1 else run_all
        modes[name] = 'eager'
        if graph and device == 'cuda':
            try:
                functions[name] = _capture(calls)
                modes[name] = 'graph'
            except RuntimeError as error:
                print(f'{name} is timed without a CUDA graph: {error}')
        functions[name]()  # compiles, allocates
        estimate = _time(functions[name], 1, device)
        numbers[name] = max(1, round(min_seconds / max(estimate, 1e-6)))
    seconds = {name: [] for name in variants}
    for _ in range(rounds):
        for name, function in functions.items():
            seconds[name].append(_time(function, numbers[name], device))
    return {
        name: Measurement(
            statistics.median(seconds[name]) / len(calls), modes[name]
        )
        for name, calls in variants.items()
    }


def copy_bandwidth(device: str) -> float:
    """Returns the bytes a second, read and written, that a large copy moves.

    The tensors are far larger than any cache.
    """
    num_bytes = 2**30 if device == 'cuda' else 2**28
    source = torch.zeros(num_bytes, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    copy = {'copy': [lambda: target.copy_(source)]}
    measured = measure(copy, device, rounds=5, min_seconds=0.01)
    return 2 * num_bytes / measured['copy'].seconds


def peak_memory(function: Callable[[], object], device: str) -> int:
    """Returns the bytes that a call needs beyond those in use before it."""
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with warnings.catch_warnings():
        # That it keeps one cycle of several: there is one.
        warnings.filterwarnings('ignore', 'Warning: Profiler clears')
        with profile(
            activities=[ProfilerActivity.CPU], profile_memory=True
        ) as profiler:
            function()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'trace.json')
        profiler.export_chrome_trace(path)
        events = json.loads(Path(path).read_text())['traceEvents']
    # Positive numbers of bytes are allocations, negative ones are freed.
    events = [event for event in events if event.get('name') == '[memory]']
    allocated = peak = 0
    for event in sorted(events, key=lambda event: event['ts']):
        allocated += event['args']['Bytes']
        peak = max(peak, allocated)
    return peak


def leave_out(name: str, error: RuntimeError, ours: str) -> None:
    """Says why a peer is not measured, and raises the error if it is ours."""
    if name == ours:
        raise error
    print(f'\nwithout {name}: {str(error).strip().splitlines()[0]}')


def format_table(header: Sequence[str], rows: List[Sequence[str]]) -> str:
    """Returns a table in Markdown, with aligned columns."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    lines.insert(1, ['-' * width for width in widths])
    return '\n'.join(
        '| '
        + ' | '.join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        )
        + ' |'
        for line in lines
    )


def write_results(path: Path, run: dict, results: List[dict]) -> None:
    """Writes all numbers of a run so far as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ',\n'.join(json.dumps(result) for result in results)
    path.write_text(
        f'{{"run": {json.dumps(run)},\n"results": [\n{lines}\n]}}\n'
    )


def read_results(path: Path) -> List[dict]:
    """Returns the results that :func:`write_results` has written."""
    return json.loads(path.read_text())['results']


def import_pyplot() -> Optional[ModuleType]:
    """Returns ``matplotlib.pyplot`` for files, None if there is none."""
    try:
        import matplotlib
    except ImportError:
        print(
            'no plot: matplotlib is not installed; --plot draws it elsewhere'
        )
        return None
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    return plt


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure of matplotlib."""
    figure.savefig(path, dpi=120)
    print(f'wrote {path}')
