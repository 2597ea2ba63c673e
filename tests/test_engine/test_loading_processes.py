# Copyright (c) mmactive contributors. All rights reserved.
"""When the processes that load data end, and when they do not."""

import subprocess
import sys
import time

import pytest

START = """
import os, signal, time
import torch
from torch.utils.data import DataLoader
from mmactive.engine import random_state


class Slow(torch.utils.data.Dataset):
    def __len__(self):
        return 1000

    def __getitem__(self, i):
        time.sleep(0.01)
        return i


loader = DataLoader(Slow(), batch_size=1, num_workers=2)
random_state.seed_batches(loader, seed=0)
batches = iter(loader)
for _ in range(2):  # one of each process: both have started by then
    next(batches)
workers = [worker.pid for worker in batches._workers]
"""


def run(code):
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', START + code],
        capture_output=True,
        text=True,
        timeout=100,
    )
    return result, time.monotonic() - start


def test_they_end_with_training():
    """Half-way through the data, without a word and without waiting."""
    result, seconds = run('')
    assert result.returncode == 0
    assert 'Error' not in result.stderr, result.stderr
    assert seconds < 25  # the grace period is 30


def test_they_outlive_what_ends_training():
    """A Slurm job's or a terminal's signal goes to all processes."""
    code = """
sender = os.fork()
if sender == 0:
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
        os.kill(worker, signal.SIGINT)
    os._exit(0)
os.waitpid(sender, 0)
time.sleep(0.5)
for _ in range(20):
    next(batches)
print('goes on')
"""
    result, _ = run(code)
    assert result.stdout == 'goes on\n', result.stderr


@pytest.mark.parametrize('seconds', [1])
def test_they_end_after_a_while(seconds):
    code = f"""
random_state.GRACE_PERIOD = {seconds}
loader = DataLoader(Slow(), batch_size=1, num_workers=2)
random_state.seed_batches(loader, seed=0)
others = iter(loader)
next(others)
if (sender := os.fork()) == 0:
    os.kill(others._workers[0].pid, signal.SIGTERM)
    os._exit(0)
os.waitpid(sender, 0)
others._workers[0].join(20)
print(others._workers[0].exitcode)
"""
    result, _ = run(code)
    assert '143' in result.stdout + result.stderr, result.stderr
