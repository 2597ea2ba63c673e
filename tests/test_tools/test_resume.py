# Copyright (c) mmactive contributors. All rights reserved.
"""A run that ends early, by whatever cause, and goes on."""

import os
import resource
import signal
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from torch import nn

from mmactive.engine import work_dir
from mmactive.utils.checkpoint import load


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


def write_config(text='', **send):
    """Writes a config of two iterations an epoch that sends signals."""
    arguments = ', '.join(f'{key}={value}' for key, value in send.items())
    Path('run.py').write_text(
        "_base_ = 'classifier.py'\n"
        'train_cfg = dict(max_epochs=2)\n'
        f"default_hooks = dict(send=dict(type='SendSignal', {arguments}))\n"
        f'{text}'
    )


def test_a_second_signal_ends_at_once(workspace, run_tool, capfd):
    write_config(at=1, number=int(signal.SIGINT), times=2)
    # Whatever the suite was started by: nohup ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(SystemExit) as info:
        run_tool('train.py', 'run.py')
    assert info.value.code == 128 + signal.SIGINT
    assert 'SIGINT: saving after this iteration' in capfd.readouterr().err
    assert not list(Path('work_dirs/run').glob('*.pth'))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_requeues_a_slurm_job(workspace, run_tool, monkeypatch):
    Path('scontrol').write_text('#!/bin/sh\necho "$@" > requeued.txt\n')
    Path('scontrol').chmod(0o755)
    monkeypatch.setenv('PATH', os.getcwd(), prepend=os.pathsep)
    monkeypatch.setenv('SLURM_JOB_ID', '12')
    write_config(at=0, number=int(signal.SIGUSR1))
    with pytest.raises(SystemExit):
        run_tool('train.py', 'run.py')
    assert Path('work_dirs/run/interrupted.pth').exists()
    assert Path('requeued.txt').read_text() == 'requeue 12\n'


def test_which_checkpoint_is_taken(workspace, run_tool, capfd, recwarn):
    """The newest whole one, here or where the folder was moved to."""
    write_config()
    resume = ('train.py', 'run.py', '--resume', '--no-validate')
    run_tool(*resume)
    folder = Path('work_dirs/run')
    whole = (folder / 'epoch_2.pth').read_bytes()

    run_tool(*resume)
    assert 'epoch_2.pth is the end of this training' in capfd.readouterr().out

    # Killed before it could say which is the last.
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    assert work_dir.find_checkpoint(str(folder)) == 'work_dirs/run/epoch_2.pth'
    # A pointer that is cut off, and none at all
    (folder / 'last_checkpoint').write_text('')
    assert work_dir.find_checkpoint(str(folder)) == 'work_dirs/run/epoch_2.pth'
    # One that is not whole
    (folder / 'epoch_2.pth').write_bytes(whole[:-1000])
    found = work_dir.find_checkpoint(str(folder))
    assert found == 'work_dirs/run/epoch_1.pth'
    assert 'epoch_2.pth is left out' in capfd.readouterr().out
    # In another folder
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    Path('moved').symlink_to(folder.absolute())
    assert work_dir.find_checkpoint('moved') == 'moved/epoch_1.pth'
    assert 'has been moved or copied' in capfd.readouterr().out
    (folder / 'epoch_1.pth').write_bytes(b'')
    with pytest.raises(RuntimeError, match='none of the 2 .* is whole'):
        work_dir.find_checkpoint(str(folder))
    for path in folder.glob('*.pth'):
        path.unlink()
    with pytest.raises(FileNotFoundError, match='last_checkpoint: it names'):
        work_dir.find_checkpoint(str(folder))


def test_does_not_start_over(workspace, run_tool):
    write_config()
    folder = Path('work_dirs/run')
    folder.mkdir(parents=True)
    for name in ('epoch_7.pth', 'best_x_epoch_3.pth', 'mine.pth'):
        (folder / name).touch()
    with pytest.raises(FileExistsError, match='--resume .*--overwrite'):
        run_tool('train.py', 'run.py', '--no-validate')
    assert len(list(folder.iterdir())) == 4  # with the lock
    run_tool('train.py', 'run.py', '--no-validate', '--overwrite')
    names = {path.name for path in folder.glob('*.pth')}
    assert names == {'epoch_1.pth', 'epoch_2.pth', 'mine.pth'}


def test_one_training_has_a_work_dir(tmp_path):
    def hold():
        work_dir.lock(str(tmp_path))
        os.write(ready[1], b'x')
        signal.pause()

    ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        hold()
    os.read(ready[0], 1)
    with pytest.raises(RuntimeError, match=f'has this .*process {pid} on'):
        work_dir.lock(str(tmp_path))
    # It goes with its process, in whatever way that ends.
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    work_dir.lock(str(tmp_path))


def test_kills_while_files_are_replaced(workspace, run_tool, monkeypatch):
    """There is a whole checkpoint whenever a file is renamed or removed."""
    states = []

    def watch(function):
        def run(path, *args, **kwargs):
            folder = Path('work_dirs/run')
            if 'work_dirs/run' in str(path):
                states.append([str(p) for p in folder.glob('epoch_*.pth')])
                if len(states) > 1 and states[-1]:
                    assert any(map(is_whole, states[-1])), path
            return function(path, *args, **kwargs)

        return run

    def is_whole(path):
        return 'state_dict' in load(path)

    write_config(
        'default_hooks.update(checkpoint=dict('
        "max_keep_ckpts=1, save_best='auto'))\n"
    )
    for name in ('replace', 'remove'):
        monkeypatch.setattr(os, name, watch(getattr(os, name)))
    run_tool('train.py', 'run.py')
    names = {path.name for path in Path('work_dirs/run').glob('*.pth')}
    assert 'epoch_2.pth' in names
    assert 'epoch_1.pth' not in names
    # Every state but those before the first was saved had a checkpoint.
    first = next(i for i, state in enumerate(states) if state)
    assert all(states[first:])
    best = [name for name in names if name.startswith('best_')]
    assert len(best) == 1


def test_no_space_left(workspace, run_tool):
    """A file that cannot be written is named; the last whole one stays."""
    write_config('default_hooks.update(checkpoint=dict(max_keep_ckpts=1))\n')
    run_tool('train.py', 'run.py', '--cfg-options', 'train_cfg.max_epochs=1')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r'too large.*epoch_2\.pth'):
            run_tool('train.py', 'run.py', '--resume')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert work_dir.find_checkpoint('work_dirs/run').endswith('epoch_1.pth')
    assert not list(Path('work_dirs/run').glob('*.tmp'))


@MODELS.register_module()
class Faulty(nn.Module):
    """Returns a NaN in its second iteration, and averages it as norms do."""

    calls = 0

    def __init__(self):
        super().__init__()
        self.register_buffer('running_mean', torch.zeros(1))

    def forward(self, x):
        Faulty.calls += self.training
        factor = float('nan') if Faulty.calls > 1 else 1.0
        self.running_mean += factor
        return tuple(value * factor for value in x)


@pytest.mark.parametrize('stops', [True, False])
def test_loss_that_is_not_finite(stops, workspace, run_tool):
    Faulty.calls = 0
    text = "model = dict(neck=dict(type='Faulty'))\n"
    if not stops:
        text += 'default_hooks.update(finite_loss=None)\n'
    write_config(text)
    message = (
        r'the loss of iteration 2 is nan: the first module whose output is '
        r"not finite is 'neck' \(Faulty\); its images are .*\.png"
    )
    if stops:
        with pytest.raises(FloatingPointError, match=message):
            run_tool('train.py', 'run.py', '--no-validate')
    else:
        run_tool('train.py', 'run.py', '--no-validate')
