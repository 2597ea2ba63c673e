# Copyright (c) mmactive contributors. All rights reserved.
"""Repeats the paper's comparisons in the small: Table 7, and its peers.

The paper's claims are about differences, which real but small data can show.
A suite of small_table7.yml is a list of variants and a list of tasks. Each
variant is trained to classify, and from that classifier for the other tasks,
once for each seed:

- table7: the four rows of Table 7 in the size of xTiny, on scikit-learn's
  digits, on scenes of them (boxes and masks, label maps), and on pairs of them
  far from a bar that points at one.
- peers: backbones with fixed, windowed or no offsets in the same size, by the
  same recipe, on the same data.
- photos: Table 7 on CIFAR-10 and CamVid, DATA/cifar10/{train,test}/<class>
  and DATA/camvid/{images,annotations}/{train,val,test}; meant for a GPU.

One such training is a unit. Its result is a small file in RESULTS; units that
have one are not run again, and one that was interrupted goes on where it
stopped. Seeds come first, so that each part of the work fills a whole table.
Of several of these commands at a time, each takes other units. What a unit
comes to does not depend on them: it runs on one thread. Checkpoints are
removed when a unit has been tested, but those of classifiers.

    python tools/analysis_tools/small_table7.py --jobs 2 --hours 1.5
    python tools/analysis_tools/small_table7.py --report    # writes the page
    python tools/analysis_tools/small_table7.py --check --variants star \
        --seeds 0    # trains anew and compares with what is recorded
"""

import argparse
import datetime
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ThreadPoolExecutor,
    wait,
)
from pathlib import Path
from typing import List

import torch
from filelock import FileLock, Timeout
from mmengine.config import Config
from small_table7_tables import (
    ROOT,
    SUITES,
    Unit,
    collect_times,
    format_metrics,
    list_units,
    load_results,
    read_metrics,
    tabulate_values,
    write_report,
)

from mmactive.engine.options import OptionAction
from mmactive.engine.work_dir import remove_checkpoints
from mmactive.utils.files import write_atomically

sys.path.append(str(ROOT / 'tools/benchmarks'))
from benchmark_utils import describe_run

TOOLS = ROOT / 'tools'
# Seconds between looks at units that another command runs
PATIENCE = 5


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--suite',
        choices=SUITES,
        default='table7',
        help='default: %(default)s',
    )
    parser.add_argument('--variants', nargs='+', help='default: all')
    parser.add_argument('--tasks', nargs='+', help='default: all')
    parser.add_argument(
        '--seeds', nargs='+', type=int, help='default: those of the suite'
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=2,
        help='how many units run at a time (default: %(default)s)',
    )
    parser.add_argument(
        '--hours',
        type=float,
        default=float('inf'),
        help='after these no unit is started (default: no limit)',
    )
    parser.add_argument(
        '--data', type=Path, default=Path('data'), help='default: data'
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/small_table7'),
        help='folder of logs and checkpoints (default: %(default)s)',
    )
    parser.add_argument(
        '--results',
        type=Path,
        default=ROOT / 'docs/en/evidence',
        help='folder of the results, one file a unit (default: %(default)s)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='override settings of the configs; for other results than the '
        "page's, so that --results is needed",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        '--check',
        action='store_true',
        help='train the units anew, and compare with their results; exit '
        'status 1 if one differs',
    )
    mode.add_argument(
        '--report',
        type=Path,
        nargs='?',
        const=ROOT / 'docs/en/evidence.md',
        metavar='PAGE',
        help='only write the tables of all results into a page, and pictures '
        'beside the results (default page: docs/en/evidence.md)',
    )
    args = parser.parse_args()
    suite = SUITES[args.suite]
    for name, known in (
        ('variants', suite['variants']),
        ('tasks', suite['tasks']),
    ):
        given = getattr(args, name)
        unknown = [value for value in given or () if value not in known]
        if unknown:
            parser.error(
                f'--{name}: {args.suite} has {", ".join(known)}, but got '
                f'{unknown[0]!r}'
            )
        setattr(args, name, list(known) if given is None else given)
    if args.seeds is None:
        args.seeds = list(range(suite['num_seeds']))
    if min(args.seeds) < 0:
        parser.error(f'--seeds: expected numbers from 0, got {args.seeds}')
    if args.jobs < 1:
        parser.error(f'--jobs: expected at least 1, got {args.jobs}')
    if args.cfg_options and args.results == parser.get_default('results'):
        parser.error('--cfg-options: needs another --results')
    return args


class Runs:
    """Runs units, several at a time.

    Args:
        args (argparse.Namespace): Parsed arguments.
        units (list[Unit]): What to run, in order.
    """

    def __init__(self, args: argparse.Namespace, units: List[Unit]) -> None:
        self.args = args
        self.units = units
        self.options = dict(args.cfg_options or {})
        self.work_dir = args.work_dir.resolve()
        if args.check:
            self.work_dir /= 'check'
        torch.set_num_threads(1)  # as the processes' that train
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.machine = describe_run(device)
        self.deadline = time.monotonic() + 3600 * args.hours
        self.failed = set()
        self.lock = threading.Lock()  # of the two below
        self.processes = []
        self.stopping = False

    def folder(self, unit: Unit) -> Path:
        """Returns the folder of a unit's logs and checkpoints."""
        return self.work_dir / str(unit)

    def is_trained(self, unit: Unit) -> bool:
        """Tells whether a unit has been trained and tested here."""
        return (self.folder(unit) / 'metrics.json').is_file()

    def result_file(self, unit: Unit) -> Path:
        """Returns the file of a unit's result."""
        return self.args.results / f'{unit}.json'

    def is_recorded(self, unit: Unit) -> bool:
        """Tells whether a unit has a result."""
        return self.result_file(unit).is_file()

    def is_done(self, unit: Unit) -> bool:
        """Tells whether nothing is to be done for a unit."""
        check = self.args.check
        return self.is_trained(unit) if check else self.is_recorded(unit)

    def list_open(self) -> List[Unit]:
        """Lists what can be run, in order.

        In the place of units whose classifier is not here comes this, even if
        its result has been recorded elsewhere.
        """
        units = {}
        for unit in self.units:
            if not self.is_done(unit):
                start = unit.start
                ready = start is None or self.is_trained(start)
                units[unit if ready else start] = None
        return list(units)

    def run(self) -> bool:
        """Runs what is open until all is done or the time is over.

        Returns:
            bool: False if a unit failed.
        """
        running = {}
        pool = ThreadPoolExecutor(self.args.jobs)
        print('| done | seed | variant | task | | minutes | hours left |')
        print('| --- | --- | --- | --- | --- | --: | --: |', flush=True)
        try:
            while True:
                is_open = self.start_units(pool, running)
                done, _ = wait(running, PATIENCE, return_when=FIRST_COMPLETED)
                for future in done:
                    unit, lock = running.pop(future)
                    self.print_row(unit, future)
                    lock.release()
                # What has been done may let others start.
                if not running and not done:
                    if not is_open:
                        return not self.failed
                    time.sleep(PATIENCE)  # others run what is left
        finally:
            self.stop()
            pool.shutdown()
            for _, lock in running.values():
                lock.release()

    def start_units(self, pool: ThreadPoolExecutor, running: dict) -> bool:
        """Starts units while there is room for them.

        Args:
            pool (ThreadPoolExecutor): What runs them.
            running (dict[Future, tuple[Unit, FileLock]]): Those that run,
                changed in place.

        Returns:
            bool: Whether units are left that may be started, now or later.
        """
        if time.monotonic() >= self.deadline:
            return False
        known = {unit for unit, _ in running.values()} | self.failed
        todo = [unit for unit in self.list_open() if unit not in known]
        for unit in todo:
            if len(running) == self.args.jobs:
                break
            self.folder(unit).mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder(unit) / '.unit.lock')
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            # Another command may have done it meanwhile.
            if unit in self.list_open():
                # Configs cannot be loaded in several threads.
                options = self.list_options(unit)
                future = pool.submit(self.run_unit, unit, options)
                running[future] = unit, lock
            else:
                lock.release()
        return bool(todo)

    def stop(self) -> None:
        """Lets the processes save and end."""
        with self.lock:
            self.stopping = True
            for process in self.processes:
                process.terminate()

    def call(self, tool: str, unit: Unit, *arguments: object) -> None:
        """Runs a tool, with its output in the unit's log.

        Raises:
            RuntimeError: If it fails. The error is its last line.
        """
        log = self.folder(unit) / 'log.txt'
        with log.open('a') as file:
            with self.lock:
                if self.stopping:
                    raise RuntimeError('stopped')
                process = subprocess.Popen(
                    [sys.executable, TOOLS / tool, unit.config]
                    + [str(argument) for argument in arguments],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=dict(os.environ, OMP_NUM_THREADS='1'),
                    # Ctrl-C is for this process, which tells them.
                    start_new_session=True,
                )
                self.processes.append(process)
            code = process.wait()
            with self.lock:
                self.processes.remove(process)
        if code:
            lines = log.read_text(errors='replace').strip().splitlines()
            raise RuntimeError(
                'stopped'
                if self.stopping
                else f'{log}: {lines[-1] if lines else f"exit status {code}"}'
            )

    def run_unit(self, unit: Unit, options: List[str]) -> dict:
        """Trains and tests a unit, and records and returns its result.

        Args:
            unit (Unit): The unit.
            options (list[str]): Those of its training.

        Returns:
            dict: What its file holds.
        """
        task = SUITES[unit.suite]['tasks'][unit.task]
        folder = self.folder(unit)
        last = folder / 'last_checkpoint'
        shared = [
            f'data_root={(self.args.data / task["data"]).resolve()}',
            *(f'{key}={value}' for key, value in self.options.items()),
        ]
        resumed = last.is_file()
        begin = time.monotonic()
        self.call(
            *('train.py', unit, '--work-dir', folder, '--resume'),
            *('--no-validate', '--cfg-options', *options, *shared),
        )
        trained = time.monotonic()
        written = folder / 'new_metrics.json'
        self.call(
            *('test.py', unit, last.read_text(), '--work-dir', folder),
            *('--out', written, '--out-item', 'metrics'),
            *('--cfg-options', *shared),
        )
        result = dict(
            **unit._asdict(),
            metrics=read_metrics(written, task),
            config=str(unit.config.relative_to(ROOT)),
            options=self.options,
            train_seconds=None if resumed else round(trained - begin),
            test_seconds=round(time.monotonic() - trained),
            date=datetime.date.today().isoformat(),
            machine=self.machine['machine'],
            versions=self.machine['versions'],
        )
        # A classifier may come again for its checkpoint.
        if not self.is_recorded(unit) and not self.args.check:
            write_atomically(
                str(self.result_file(unit)),
                (json.dumps(result, indent=1) + '\n').encode(),
            )
        os.replace(written, folder / 'metrics.json')
        if unit.start is not None:
            remove_checkpoints(str(folder))
        return result

    def list_options(self, unit: Unit) -> List[str]:
        """Lists the options of a unit's training."""
        options = [
            f'randomness.seed={unit.seed}',
            'default_hooks.checkpoint.max_keep_ckpts=1',
        ]
        if unit.start is not None:
            checkpoint = self.folder(unit.start) / 'last_checkpoint'
            cfg = Config.fromfile(unit.config)
            key = 'load_from' if cfg.get('load_from') else 'pretrained'
            options.append(f'{key}={checkpoint.read_text()}')
        return options

    def print_row(self, unit: Unit, future: Future) -> None:
        """Prints what has become of a unit."""
        minutes = ''
        try:
            result = future.result()
            outcome = format_metrics(result['metrics'])
            seconds = result['train_seconds']
            if seconds is not None:
                minutes = f'{(seconds + result["test_seconds"]) / 60:.1f}'
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            self.failed.add(unit)
            outcome = f'failed: {error}'
        done = sum(map(self.is_done, self.units))
        print(
            f'| {done} of {len(self.units)} | {unit.seed} | {unit.variant} | '
            f'{unit.task} | {outcome} | {minutes} | {self.estimate()} |',
            flush=True,
        )

    def estimate(self) -> str:
        """Estimates the hours for what is left, by what others took."""
        times = collect_times(load_results(self.args.results), self.args.suite)
        left = [unit.task for unit in self.units if not self.is_done(unit)]
        if not set(left) <= times.keys():
            return ''
        seconds = sum(statistics.mean(times[task]) for task in left)
        return f'{seconds / self.args.jobs / 3600:.1f}'

    def compare(self) -> bool:
        """Prints whether new results are those that have been recorded.

        Returns:
            bool: False if one of them is not.
        """
        same = True
        for unit in self.units:
            if not self.is_trained(unit):
                continue
            task = SUITES[unit.suite]['tasks'][unit.task]
            now = read_metrics(self.folder(unit) / 'metrics.json', task)
            recorded = json.loads(self.result_file(unit).read_text())
            verdict = 'the same'
            if now != recorded['metrics']:
                same = False
                # Another processor or PyTorch adds up in another order.
                verdict = (
                    f'recorded: {format_metrics(recorded["metrics"])} '
                    f'({recorded["machine"]}; '
                    f'PyTorch {recorded["versions"]["torch"]})'
                )
            print(f'{unit}: {format_metrics(now)}: {verdict}')
        return same


def prepare_data(args: argparse.Namespace) -> None:
    """Writes the data that is not there yet, and checks the rest.

    Raises:
        FileNotFoundError: If data is missing that nothing here writes.
    """
    suite = SUITES[args.suite]
    for script, folder in suite.get('converters', {}).items():
        path = TOOLS / 'dataset_converters' / script
        command = [sys.executable, path, args.data / folder]
        subprocess.run(command, check=True)
    # What others start from is trained for them.
    for name in dict.fromkeys([next(iter(suite['tasks'])), *args.tasks]):
        folder = args.data / suite['tasks'][name]['data']
        if not folder.is_dir():
            raise FileNotFoundError(f'--data: there is no folder {folder}')


def check_results(runs: Runs) -> None:
    """Checks that results are those of the same settings, or are there.

    Raises:
        ValueError: If they are of others.
        FileNotFoundError: If there is nothing to compare with.
    """
    for unit in runs.units:
        path = runs.result_file(unit)
        if runs.args.check and not path.is_file():
            raise FileNotFoundError(f'--check: there is no result {path}')
        if path.is_file():
            options = json.loads(path.read_text())['options']
            if options != json.loads(json.dumps(runs.options)):
                raise ValueError(
                    f'--cfg-options: {path} is of the options {options}, but '
                    f'got {runs.options}; choose another --results'
                )


def stop(number: int, frame: object) -> None:
    """Ends this process, which lets those that train save and end."""
    raise SystemExit(128 + number)


def main() -> None:
    """Runs the command."""
    args = parse_args()
    try:
        if args.report:
            write_report(args.report, args.results)
            return
        units = list_units(args.suite, args.variants, args.seeds, args.tasks)
        runs = Runs(args, units)
        check_results(runs)
        prepare_data(args)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f'{error}')
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    passed = runs.run()
    if args.check:
        passed = runs.compare() and passed
    else:
        results = load_results(args.results)
        table = tabulate_values(results, args.suite, costs=False)
        print('\n' + '\n'.join(table))
    left = sum(not runs.is_done(unit) for unit in units)
    if left:
        print(f'\n{left} of {len(units)} are left; run the same again')
    sys.exit(not passed)


if __name__ == '__main__':
    main()
