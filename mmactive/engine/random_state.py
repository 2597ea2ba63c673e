# Copyright (c) mmactive contributors. All rights reserved.
"""The generators of random numbers: of training, and of each batch.

A batch is augmented by numbers of its own, which follow from the seed, the
process, the epoch and the place in it. So it comes out the same in a run that
was resumed there, and with any number of loading processes; and training, that
is to say dropout, stochastic depth and mixup, has its generators for itself.
"""

import math
import os
import random
import signal
import threading
import time
from functools import partial
from typing import Any, Callable, Iterator, List, Optional, Tuple

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import DataLoader

# Seconds that a loading process lives on after SIGTERM
GRACE_PERIOD = 30


def get_random_state() -> dict:
    """Returns the states of this process's generators.

    Returns:
        dict: Tensors, and lists of numbers and strings, which a checkpoint can
        hold.
    """
    version, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state()
    name, keys, position, has_gauss, cached = numpy_state
    state = dict(
        python=[version, list(words), gauss],
        numpy=[name, keys.tolist(), int(position), int(has_gauss), cached],
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Sets the generators to what :func:`get_random_state` returned."""
    version, words, gauss = state['python']
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state['numpy']
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


class SeededBatch(list):
    """Indices of a batch that come with a seed.

    PyTorch's loader, in whichever process, loads an item for each index as it
    iterates over them. Meanwhile the generators are those of the seed.

    Args:
        indices (list[int]): Indices of the batch's items.
        seed (tuple[int]): Numbers that together make the seed.
    """

    def __init__(self, indices: List[int], seed: Tuple[int, ...]) -> None:
        super().__init__(indices)
        self.seed = seed

    def __reduce__(self) -> tuple:
        return type(self), (list(super().__iter__()), self.seed)

    def __iter__(self) -> Iterator[int]:
        states = (random.getstate(), np.random.get_state())
        torch_state = torch.get_rng_state()
        seeds = np.random.SeedSequence(self.seed).generate_state(3)
        random.seed(int(seeds[0]))
        np.random.seed(seeds[1])
        # `torch.manual_seed` would seed the GPU, too.
        torch.default_generator.manual_seed(int(seeds[2]))
        try:
            yield from super().__iter__()
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(torch_state)


class SeededBatchSampler:
    """Gives each batch of a sampler a seed, and can begin behind the first.

    Args:
        batch_sampler (Iterable[list[int]]): PyTorch's or mmdet's.
        seed (int): Seed of the run.

    Attributes:
        start (int): Number of batches that the next pass leaves out.
        epoch (int): Number of the next pass, if the sampler has no ``epoch``.
    """

    def __init__(self, batch_sampler: Any, seed: int) -> None:
        self.batch_sampler = batch_sampler
        self.sampler = getattr(batch_sampler, 'sampler', None)
        self.batch_size = getattr(batch_sampler, 'batch_size', None)
        self.drop_last = getattr(batch_sampler, 'drop_last', False)
        self.seed = seed
        self.start = 0
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[SeededBatch]:
        epoch = getattr(self.sampler, 'epoch', self.epoch)
        start, self.start = self.start, 0
        self.epoch = epoch + 1
        for position, indices in enumerate(self.batch_sampler):
            if position >= start:
                seed = (self.seed, get_rank(), epoch, position)
                yield SeededBatch(indices, seed)


def seed_batches(loader: DataLoader, seed: Optional[int]) -> None:
    """Gives the batches of a loader seeds, changes it in place.

    Args:
        loader (DataLoader): A loader that has not been iterated over. One that
            makes no batches of a dataset's items stays as it is.
        seed (int, optional): Seed of the run.
    """
    loader.worker_init_fn = partial(
        _init_worker, worker_init_fn=loader.worker_init_fn
    )
    if seed is None or loader.batch_sampler is None:
        return
    sampler = SeededBatchSampler(loader.batch_sampler, seed)
    # PyTorch's `__setattr__` refuses that, and mmengine, which makes the
    # loader, hands it no sampler of batches but one that a config names.
    object.__setattr__(loader, 'batch_sampler', sampler)
    # Each pass draws from it; else from the generator of training.
    loader.generator = torch.Generator().manual_seed(seed)


def _init_worker(worker_id: int, worker_init_fn: Optional[Callable]) -> None:
    """Lets a loading process outlive the signals that end training.

    They go to all processes of a terminal or a Slurm job, and training needs
    its batches until it has saved.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # not on macOS
        # Threads inherit what is blocked, so that the one below gets it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_end, daemon=True).start()
    if worker_init_fn is not None:
        worker_init_fn(worker_id)


def _wait_for_end() -> None:
    """Ends a loading process at its parent's SIGTERM, later at another's.

    The parent sends one when it has no use for batches any more.
    """
    parent = os.getppid()
    end = math.inf
    while True:
        seconds = min(end - time.monotonic(), threading.TIMEOUT_MAX)
        info = signal.sigtimedwait({signal.SIGTERM}, max(seconds, 0))
        if info is not None and info.si_pid == parent:
            os._exit(0)
        if time.monotonic() >= end:
            os._exit(128 + signal.SIGTERM)
        if info is not None:
            end = min(end, time.monotonic() + GRACE_PERIOD)


def skip_batches(loop: Any, seed: int) -> None:
    """Makes a resumed loop go on behind the batches that it has seen.

    None of them is loaded for that.

    Args:
        loop (BaseLoop): mmengine's loop of training by epochs or iterations,
            of which ``epoch`` and ``iter`` have been resumed.
        seed (int): Seed of the run that is resumed.
    """
    batches = loop.dataloader.batch_sampler
    if not isinstance(batches, SeededBatchSampler):
        return
    sampler = batches.sampler
    if batches.seed != seed:
        if getattr(sampler, 'seed', None) == batches.seed:
            sampler.seed = seed
        batches.seed = seed
    if not hasattr(loop, 'dataloader_iterator'):
        seen = loop.iter - loop.epoch * len(loop.dataloader)
        batches.epoch = loop.epoch
        if 0 < seen < len(loop.dataloader):
            batches.start = seen
    elif isinstance(sampler, InfiniteSampler):
        sampler.indices = sampler._indices_of_rank()
        _restart(loop, epoch=0, start=loop.iter)
    elif hasattr(sampler, 'epoch'):
        _restart(loop, *divmod(loop.iter, len(loop.dataloader)))
    # Of other samplers, mmengine's loop loads and drops what it has seen.


def _restart(loop: Any, epoch: int, start: int) -> None:
    """Replaces the iterator of mmengine's loop by iterations."""
    # Processes that are kept would go on where the old iterator was.
    loop.dataloader._iterator = None
    # That of mmengine's fork is told what to skip.
    is_told = hasattr(loop.dataloader_iterator, 'skip_iter')
    loop.dataloader_iterator = _ResumedIterator(
        loop.dataloader, epoch, start, num_skipped=0 if is_told else loop.iter
    )


class _ResumedIterator(_InfiniteDataloaderIterator):
    """mmengine's iterator, as it is after some batches.

    Args:
        dataloader (DataLoader): The loader, of seeded batches.
        epoch (int): Number of whole passes so far.
        start (int): Number of batches of the pass that has begun.
        num_skipped (int): How often mmengine's loop asks for a batch that it
            then drops.
    """

    def __init__(
        self, dataloader: DataLoader, epoch: int, start: int, num_skipped: int
    ) -> None:
        self._dataloader = dataloader
        self._epoch = epoch
        self._start = start
        self._num_skipped = num_skipped
        self._iterator = None

    def skip_iter(self, num_iters: int) -> None:
        """Skips nothing: the iterator begins behind these batches."""

    def __next__(self) -> Any:
        if self._num_skipped > 0:
            self._num_skipped -= 1
            return None
        if self._iterator is None:
            # Not before: a hook sets the sampler's epoch to 0 meanwhile.
            batches = self._dataloader.batch_sampler
            if hasattr(batches.sampler, 'set_epoch'):
                batches.sampler.set_epoch(self._epoch)
            batches.epoch, batches.start = self._epoch, self._start
            self._iterator = iter(self._dataloader)
        return super().__next__()
