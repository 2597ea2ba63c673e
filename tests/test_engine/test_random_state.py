# Copyright (c) mmactive contributors. All rights reserved.
"""The batches of a run that is resumed, without one."""

from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader

from mmactive.engine.random_state import seed_batches, skip_batches

DATASET = range(10)


def make_loader(kind):
    sampler = kind(DATASET, shuffle=True, seed=0)
    loader = DataLoader(DATASET, batch_size=2, sampler=sampler)
    seed_batches(loader, seed=0)
    return loader


def list_passes(loader):
    """Lists the batches of two passes of five."""
    if isinstance(loader.sampler, InfiniteSampler):
        return list(islice(loader, 10))
    batches = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        batches += loader
    return batches


@pytest.mark.parametrize('is_told', [False, True])
@pytest.mark.parametrize('kind', [InfiniteSampler, DefaultSampler])
@pytest.mark.parametrize('seen', [3, 5, 7])
def test_resumed_loop_of_iterations(kind, seen, is_told):
    """mmengine's loop drops what it has seen, its fork's tells to skip it."""
    expected = list_passes(make_loader(kind))
    loader = make_loader(kind)
    iterator = iter(loader)
    if is_told:
        iterator = SimpleNamespace(skip_iter=None)
    loop = SimpleNamespace(
        dataloader=loader, dataloader_iterator=iterator, iter=seen, epoch=0
    )

    skip_batches(loop, seed=0)
    if is_told:
        loop.dataloader_iterator.skip_iter(seen)
    else:
        assert [next(loop.dataloader_iterator) for _ in range(seen)] == (
            [None] * seen
        )
    # To the end of the pass, where mmengine sleeps for seconds.
    end = 5 if seen < 5 else 10
    batches = list(islice(loop.dataloader_iterator, end - seen))
    assert torch.equal(torch.stack(batches), torch.stack(expected[seen:end]))
