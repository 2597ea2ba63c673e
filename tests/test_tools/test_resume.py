# Copyright (c) mmactive contributors. All rights reserved.
"""A run that ends early, by whatever cause, and goes on."""

import os
import signal
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SendSignal(Hook):
    """Sends this process a signal in an iteration that begins."""

    def __init__(self, at=-1, number=signal.SIGTERM, times=1):
        self.at, self.number, self.times = at, number, times

    def before_train_iter(self, runner, *args, **kwargs):
        if runner.iter == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


# All that is random: order, augmentation, mixup, stochastic depth.
CLASSIFIER = """
_base_ = 'classifier.py'
model = dict(
    backbone=dict(drop_path_rate=0.3),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=32),
    dict(type='ColorJitter', brightness=0.5),
    dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=4, num_workers={workers}, persistent_workers={keep},
    dataset=dict(pipeline=pipeline))
train_cfg = dict(max_epochs=3)
param_scheduler = [dict(
    type='CosineAnnealingLR', T_max=3, convert_to_iter_based=True)]
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
default_hooks = dict(
    checkpoint=dict(interval=2, max_keep_ckpts=1),
    send=dict(type='SendSignal'))
"""
SEGMENTOR = """
_base_ = 'segmentor.py'
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(64, 64)),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs')]
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(drop_path_rate=0.3))
train_dataloader = dict(
    num_workers={workers}, persistent_workers={keep},
    dataset=dict(pipeline=pipeline),
    sampler=dict(type='{sampler}Sampler', shuffle=True))
train_cfg = dict(max_iters=7, val_interval=2)
default_hooks = dict(
    checkpoint=dict(interval=3, max_keep_ckpts=1),
    send=dict(type='SendSignal'))
"""


def load(path):
    return torch.load(path, weights_only=True)


def assert_same(first, second, path=''):
    assert type(first) is type(second), path
    if isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first:
            assert_same(first[key], second[key], f'{path}.{key}')
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), path
        for i, pair in enumerate(zip(first, second)):
            assert_same(*pair, f'{path}.{i}')
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    else:
        assert first == second, path


def assert_same_end(one, other, name):
    one, other = load(f'{one}/{name}'), load(f'{other}/{name}')
    keys = {'state_dict', 'optimizer', 'param_schedulers', 'random_states'}
    for key in (keys | {'ema_state_dict'}) & one.keys():
        assert_same(one[key], other[key], key)


@pytest.mark.parametrize(
    ('text', 'at', 'end'),
    [
        # In an epoch, after a checkpoint and a validation
        (CLASSIFIER.format(workers=0, keep=False), 9, 'epoch_3.pth'),
        (CLASSIFIER.format(workers=2, keep=True), 5, 'epoch_3.pth'),
        # At the end of one
        (CLASSIFIER.format(workers=0, keep=False), 3, 'epoch_3.pth'),
        *(
            (
                SEGMENTOR.format(workers=workers, keep=False, sampler=kind),
                at,
                'iter_7.pth',
            )
            for workers, kind, at in [
                (0, 'Infinite', 3),
                (2, 'Infinite', 4),
                (0, 'Default', 3),
            ]
        ),
    ],
)
def test_resumed_is_bitwise_the_uninterrupted(
    text, at, end, workspace, run_tool
):
    torch.set_num_threads(1)
    Path('random.py').write_text(text)
    command = ('train.py', 'random.py', '--work-dir')
    run_tool(*command, 'alive')
    option = ('--cfg-options', f'default_hooks.send.at={at}')
    with pytest.raises(SystemExit) as info:
        run_tool(*command, 'stopped', *option)
    assert info.value.code == 128 + signal.SIGTERM
    assert load('stopped/interrupted.pth')['meta']['iter'] == at + 1
    run_tool(*command, 'stopped', '--resume')
    assert_same_end('alive', 'stopped', end)
    # What the next checkpoint has made superfluous is gone.
    names = [path.name for path in Path('stopped').glob('*.pth*')]
    assert names == [end]
