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
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer

PACKAGES = ('torch', 'torchvision', 'timm', 'mmcv', 'mmpretrain', 'mmdet')


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
    return parser


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
    run = dict(
        date=datetime.date.today().isoformat(),
        machine=f'{processor}, {platform.machine()}, '
        f'{torch.backends.cpu.get_cpu_capability()}, '
        f'{torch.get_num_threads()} threads',
        versions=versions,
        command=shlex.join(['python', *sys.argv]),
    )
    if device == 'cuda':
        run['machine'] = (
            f'{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}'
        )
    print('\n'.join(f'{key}: {value}' for key, value in run.items()))
    return run


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
    variants: Dict[str, Callable[[], object]],
    device: str,
    rounds: int,
    min_seconds: float = 0.0,
) -> Dict[str, float]:
    """Times functions against each other.

    They take turns, so that whatever else the machine does hits all of them.

    Args:
        variants (dict): Names and the functions to time.
        device (str): 'cpu' or 'cuda'.
        rounds (int): How many turns each function has.
        min_seconds (float): How long one turn lasts at least, by repeating
            the call. Defaults to 0: one call.

    Returns:
        dict: For each name the median of its turns in seconds per call.
    """
    numbers, seconds = {}, {name: [] for name in variants}
    for name, function in variants.items():
        function()  # compiles, allocates
        estimate = _time(function, 1, device)
        numbers[name] = max(1, round(min_seconds / max(estimate, 1e-6)))
    for _ in range(rounds):
        for name, function in variants.items():
            seconds[name].append(_time(function, numbers[name], device))
    return {name: statistics.median(s) for name, s in seconds.items()}


def peak_memory(function: Callable[[], object], device: str) -> int:
    """Returns the bytes that a call needs beyond those in use before it."""
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(
        activities=[ProfilerActivity.CPU],
        profile_memory=True,
        acc_events=True,
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
    """Writes all numbers of a run as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dict(run=run, results=results), indent=1)
    path.write_text(text + '\n')
    print(f'\nwrote {path}')


def import_pyplot() -> Optional[ModuleType]:
    """Returns ``matplotlib.pyplot`` for files, None if there is none."""
    try:
        import matplotlib
    except ImportError:
        print('no plot: matplotlib is not installed')
        return None
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    return plt


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure of matplotlib."""
    figure.savefig(path, dpi=120)
    print(f'wrote {path}')
