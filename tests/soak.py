# Copyright (c) mmactive contributors. All rights reserved.
"""Runs for long what the tests run once, and prints a table of counts.

``make soak`` calls it. What it finds, it prints above the table, and then ends
with an error. docs/en/reliability.md says what each row is about.
"""

import argparse
import json
import os
import platform
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from pickle import UnpicklingError

import mmpretrain  # noqa: F401
import mmseg  # noqa: F401
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS
from test_ops.test_axial_deform_gather import (
    assert_close,
    make,
    run,
    torchvision_gather,
)
from test_tools.conftest import CONFIGS, write_data

from mmactive.engine import work_dir
from mmactive.ops import axial_deform_gather
from mmactive.utils.checkpoint import load

TESTS = Path(__file__).resolve().parent
TRAIN = TESTS.parent / 'tools' / 'train.py'

# What refuses a checkpoint, and names its file
REFUSALS = (UnpicklingError, RuntimeError, OSError, ValueError)

# Bytes that a process may grow by, of what its allocator keeps
GROWTH = 32 * 2**20

LONG_CLASSIFIER = """
_base_ = 'classifier.py'
model = dict(backbone=dict(drop_path_rate=0.3))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=32),
    dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=4, num_workers={workers}, dataset=dict(pipeline=pipeline))
train_cfg = dict(max_epochs={epochs}, val_interval=5)
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(max_keep_ckpts=1, save_best='auto'))
"""
LONG_SEGMENTOR = """
_base_ = 'segmentor.py'
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(64, 64)),
    dict(type='PackSegInputs')]
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(drop_path_rate=0.3))
train_dataloader = dict(dataset=dict(pipeline=pipeline))
train_cfg = dict(max_iters={iters}, val_interval=50)
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(interval=3, max_keep_ckpts=1))
"""


@HOOKS.register_module()
class WatchHook(Hook):
    """Writes down how much memory and how many files a training holds."""

    def __init__(self, path):
        self.path, self.usage = path, []

    def after_train_iter(self, runner, *args, **kwargs):
        if (runner.iter + 1) % 10 == 0:
            self.usage.append(measure())

    def after_train(self, runner):
        Path(self.path).write_text(json.dumps(self.usage))


def measure():
    """Returns the resident bytes and open files of this process."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGESIZE'), len(os.listdir('/proc/self/fd'))


def grows(usage):
    """Says how usage has grown since the first tenth, '' if it has not."""
    start, end = usage[len(usage) // 10], usage[-1]
    growth = end[0] - start[0]
    if growth <= GROWTH and end[1] <= start[1]:
        return ''
    return f'grew by {growth} bytes and {end[1] - start[1]} files'


def start(function, *args):
    """Forks a process that calls a function; nothing is imported again."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        function(*args)
        code = 0
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def train(config, *options):
    """Runs tools/train.py, with what it prints in a file."""
    log = os.open('log.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    sys.argv = ['train.py', config, *options]
    runpy.run_path(str(TRAIN), run_name='__main__')


def fuzz_operator(count):
    """Random shapes, groups, offsets and axes, against torchvision's."""
    generator = random.Random(0)
    failures = []
    for i in range(count):
        n, h, w = (generator.randint(1, size) for size in (3, 33, 33))
        groups = generator.choice([1, 2, 3, 4, 8])
        channels = groups * generator.choice([1, 2, 3, 4, 8])
        std = generator.choice([0.3, 3.0, 30.0])
        dim = generator.choice([1, 2])
        tensors = make((n, h, w, channels), groups, torch.float64, std=std)
        with torch.no_grad():
            # Off the pixels, and exact in float32: where an offset is rounded
            # onto a pixel, its gradient jumps.
            offset = tensors[1]
            offset.copy_((offset * 256).floor().add(0.5).div(256))
        case = f'{(n, h, w, channels, groups)}, std {std}, dim {dim}'
        try:
            expected = run(torchvision_gather, *tensors, dim)
            for dtype, tolerance in (
                (torch.float64, 1e-12),
                (torch.float32, 1e-4),
            ):
                given = [
                    t.detach().to(dtype).requires_grad_() for t in tensors
                ]
                wanted = expected
                if dtype != torch.float64:
                    exact = [
                        t.detach().double().requires_grad_() for t in given
                    ]
                    wanted = run(torchvision_gather, *exact, dim)
                found = run(axial_deform_gather, *given, dim)
                assert_close(
                    [t.double() for t in found],
                    [t.double() for t in wanted],
                    rtol=tolerance,
                    atol=tolerance,
                )
        except Exception as error:
            failures.append(f'{i}: {case}: {error!r}')
    return count, failures


def call_operator(count):
    """Many calls, forward and backward: memory and handles stay."""
    usage = []
    tensors = make((2, 24, 24, 16), 4)
    for i in range(count):
        run(axial_deform_gather, *tensors, 1 + i % 2)
        if i % (count // 20 or 1) == 0:
            usage.append(measure())
    return count, list(filter(None, [grows(usage)]))


def fuzz_loader(count):
    """Spoiled checkpoints: each is refused by name, or holds numbers."""
    generator = random.Random(0)
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    whole = dict(
        meta=dict(epoch=1, iter=2, text='a' * 50),
        state_dict={f'w{i}': torch.randn(3, 5) for i in range(4)},
        message_hub=dict(log_scalars=dict(loss=history)),
    )
    paths = [Path('zip.pth'), Path('legacy.pth')]
    for path, is_zip in zip(paths, (True, False)):
        torch.save(whole, path, _use_new_zipfile_serialization=is_zip)
    contents = [path.read_bytes() for path in paths]

    def spoil(content):
        content = bytearray(content)
        kind = generator.choice(['bytes', 'bytes', 'cut', 'splice'])
        if kind == 'cut':
            return content[: generator.randrange(len(content))]
        for _ in range(generator.choice([1, 1, 2, 8])):
            place = generator.randrange(min(len(content), 2500))
            if kind == 'bytes':
                content[place] = generator.randrange(256)
            else:
                end = place + generator.randrange(40)
                other = generator.randrange(len(content))
                content[place:end] = content[other : other + 20]
        return content

    def check(begin, end):
        failures = []
        for i in range(count):
            content = spoil(contents[i % 2])
            if not begin <= i < end:
                continue
            path = Path('spoiled.pth')
            path.write_bytes(content)
            try:
                load(str(path))
            except REFUSALS as error:
                if 'spoiled.pth' not in str(error):
                    failures.append(f'{i}: no name: {error!r}')
            except Exception as error:
                failures.append(f'{i}: {error!r}')
        Path('failures.json').write_text(json.dumps(failures))

    # A crash of the reader must not be one of this process.
    code = wait(start(check, 0, count))
    if code:
        return count, [f'the process ended with {code}']
    return count, json.loads(Path('failures.json').read_text())


def kill_and_resume(count):
    """Kills at random moments; the end is bitwise the uninterrupted one's."""
    generator = random.Random(0)
    runs = [
        ('epochs', LONG_CLASSIFIER.format(workers=0, epochs=24), 'epoch_24'),
        ('iterations', LONG_SEGMENTOR.format(iters=60), 'iter_60'),
        ('workers', LONG_CLASSIFIER.format(workers=2, epochs=24), 'epoch_24'),
    ]
    failures, kills, number = [], 0, 0
    while kills < count:
        name, text, end = runs[number % len(runs)]
        number += 1
        Path(f'{name}.py').write_text(text)
        if not Path(f'{name}_alive').exists():
            code = wait(
                start(train, f'{name}.py', '--work-dir', f'{name}_alive')
            )
            if code:
                return kills, [f'{name}: ended with {code}, see log.txt']
        folder = f'{name}_{number}'
        while True:
            pid = start(train, f'{name}.py', '--work-dir', folder, '--resume')
            by = generator.choice(
                [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]
            )
            end_time = time.monotonic() + generator.uniform(0.3, 4.0)
            code = None
            while time.monotonic() < end_time:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    code = os.waitstatus_to_exitcode(status)
                    break
                time.sleep(0.01)
            if code is None and kills < count:
                os.kill(pid, by)
                code = wait(pid)
                kills += 1
                left = work_dir.list_checkpoints(folder)
                for path in left:
                    try:
                        load(path)
                    except Exception as error:
                        failures.append(f'{path}: {error!r}')
                if code not in (-signal.SIGKILL, -signal.SIGTERM, 143):
                    failures.append(f'{folder}: ended with {code} by {by}')
                    break
                continue
            code = wait(pid) if code is None else code
            if code:
                failures.append(f'{folder}: ended with {code}, see log.txt')
            break
        if not Path(folder, f'{end}.pth').exists():
            continue
        alive, killed = (
            load(f'{place}/{end}.pth') for place in (f'{name}_alive', folder)
        )
        for key in ('state_dict', 'ema_state_dict'):
            for weight, value in alive.get(key, {}).items():
                if not torch.equal(value, killed[key][weight]):
                    failures.append(f'{folder}: {key}.{weight} differs')
                    break
    return kills, failures


def train_long(count, workers):
    """Iterations of training: memory and handles stay."""
    name = f'long_{workers}'
    text = LONG_CLASSIFIER.format(workers=workers, epochs=count // 4)
    watch = f"custom_hooks = [dict(type='WatchHook', path='{name}.json')]\n"
    Path(f'{name}.py').write_text(text + watch)
    code = wait(start(train, f'{name}.py', '--no-validate'))
    if code:
        return count, [f'{name}: ended with {code}, see log.txt']
    usage = json.loads(Path(f'{name}.json').read_text())
    return count, list(filter(None, [grows(usage)]))


def run_tests(*paths):
    """Runs tests, the slow ones as well."""
    report = Path('report.xml').resolve()
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
        + [f'--junitxml={report}', *paths],
        cwd=TESTS.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    suite = ET.parse(report).getroot().find('testsuite').attrib
    skipped = int(suite['skipped'])
    failed = int(suite['failures']) + int(suite['errors'])
    failures = [done.stdout[-3000:]] if failed or done.returncode else []
    return int(suite['tests']) - skipped, failures


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--scale',
        type=float,
        default=1.0,
        help='fraction of the counts, for a quick look',
    )
    parser.add_argument(
        '--only', default='', help='a word of the names of the rows to run'
    )
    return parser.parse_args()


def main():
    args = parse_args()

    def scaled(count):
        return max(4, int(count * args.scale))

    # Of files that tests/test_utils/test_unpickler.py makes in each test
    os.environ.setdefault('MMACTIVE_FUZZ_EXAMPLES', str(scaled(2000)))
    parts = [
        ('operator against torchvision', fuzz_operator, scaled(5000)),
        ('operator, calls in a row', call_operator, scaled(10000)),
        ('spoiled checkpoints', fuzz_loader, scaled(5000)),
        ('kills with resume', kill_and_resume, scaled(40)),
        ('iterations', train_long, scaled(500), 0),
        ('iterations, two workers', train_long, scaled(500), 2),
        (
            'tests of damaged checkpoints',
            run_tests,
            'tests/test_utils/test_checkpoint.py',
            'tests/test_utils/test_unpickler.py',
            'tests/test_engine/test_checkpoint_fit.py',
        ),
        (
            'tests of damaged data',
            run_tests,
            *sorted(map(str, TESTS.glob('test_engine/test_data_*.py'))),
        ),
    ]
    warnings.simplefilter('ignore')
    rows, failed = [], []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_data(Path('data'))
        for name, text in CONFIGS.items():
            Path(f'{name}.py').write_text(text)
        for name, function, *arguments in parts:
            if args.only not in name:
                continue
            print(f'{name} ...', flush=True)
            begin = time.monotonic()
            count, failures = function(*arguments)
            seconds = time.monotonic() - begin
            rows.append((name, count, len(failures), seconds))
            failed += [f'{name}: {failure}' for failure in failures]
            if failures and Path('log.txt').exists():
                print(Path('log.txt').read_text()[-3000:])
        os.chdir(TESTS)
    print(*failed, sep='\n')
    print(f'\nPyTorch {torch.__version__}, {platform.machine()}\n')
    print('| what | cases | failures | seconds |')
    print('| --- | --- | --- | --- |')
    for name, count, number, seconds in rows:
        print(f'| {name} | {count:,} | {number} | {seconds:.0f} |')
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
