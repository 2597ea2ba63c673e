# Copyright (c) mmactive contributors. All rights reserved.
import json
import os
import signal
import sys

import pytest
import torch

from mmactive.utils.checkpoint import load

from .conftest import ROOT, TOOLS


@pytest.fixture
def tools(tmp_path_factory):
    """The tools in a folder with a blank in its name."""
    folder = tmp_path_factory.mktemp('a folder') / 'with blanks'
    folder.symlink_to(ROOT)
    return folder / 'tools'


def test_two_processes_equal_one(workspace, run_tool, start_process, tools):
    """Same weights, and same metrics, from the same global batches."""
    # Two of 4 images each against one of 8. No augmentation and no drop path:
    # what is random differs from process to process.
    options = ('--cfg-options', 'train_cfg.max_epochs=3')
    torch.set_num_threads(1)
    run_tool(
        'train.py',
        'classifier.py',
        *('--work-dir', 'one', *options, 'train_dataloader.batch_size=8'),
    )
    output = start_process(
        *(tools / 'dist_train.sh', 'classifier.py', 2, '--work-dir', 'two'),
        *(*options, 'train_dataloader.batch_size=4'),
    )
    assert 'Distributed training: True' in output
    assert 'GPU number: 2' in output
    one = load('one/epoch_3.pth')
    two = load('two/epoch_3.pth')
    last = [c['message_hub']['runtime_info']['iter'] for c in (one, two)]
    assert last == [5, 5]
    start = load('one/epoch_1.pth')['state_dict']
    for name, weight in one['state_dict'].items():
        torch.testing.assert_close(two['state_dict'][name], weight)
        if name.endswith('weight'):
            assert not torch.equal(weight, start[name]), name

    command = ('classifier.py', 'one/epoch_3.pth')
    metrics = ('--out-item', 'metrics', '--out')
    run_tool('test.py', *command, *metrics, 'one.json')
    start_process(tools / 'dist_test.sh', *command, 2, *metrics, 'two.json')
    contents = [
        json.loads((workspace / name).read_text())
        for name in ('one.json', 'two.json')
    ]
    assert contents[0] == contents[1]


def test_no_thread_outlives_the_run(workspace, start_process):
    """A thread of gloo's that runs during shut-down aborts the process."""
    (workspace / 'report.py').write_text(
        'import atexit, os\n'
        'def report():\n'
        "    threads = len(os.listdir('/proc/self/task'))\n"
        "    os.write(1, b'%d thread\\n' % threads)\n"
        'atexit.register(report)\n'
    )
    imports = "custom_imports = dict(imports=['mmactive', 'report'])\n"
    with open('classifier.py', 'a') as file:
        file.write(imports)
    output = start_process(
        *(TOOLS / 'dist_train.sh', 'classifier.py', 2, '--work-dir', 'two'),
        PYTHONPATH=str(workspace),
    )
    assert output.count('1 thread\n') == 2
    output = start_process(
        *(TOOLS / 'dist_test.sh', 'classifier.py', 'two/epoch_1.pth', 2),
        PYTHONPATH=str(workspace),
    )
    assert output.count('1 thread\n') == 2


def test_sync_batchnorm_and_amp(workspace, start_process):
    """What mmseg's configs have and a CPU has not."""
    text = (workspace / 'segmentor.py').read_text()
    text = text.replace("dict(type='GN', num_groups=2)", "dict(type='SyncBN')")
    assert 'SyncBN' in text
    (workspace / 'sync.py').write_text(text)
    output = start_process(TOOLS / 'dist_train.sh', 'sync.py', 2, '--amp')
    assert 'mIoU: ' in output


@pytest.mark.parametrize(
    ('script', 'args'),
    [
        ('dist_train.sh', ['a.py', '3']),
        ('dist_test.sh', ['a.py', 'b.pth', '3']),
    ],
)
@pytest.mark.parametrize('several', [False, True])
def test_what_torchrun_gets(script, args, several, tmp_path, start_process):
    """Options arrive as they are; the variables of OpenMMLab's scripts act."""
    env = dict(PYTHON=str(write_echo(tmp_path / 'python')))
    if several:
        env.update(NNODES='2', NODE_RANK='1', MASTER_ADDR='head', PORT='5')
    given = ['--work-dir', 'my work', '--cfg-options', 'a="[1, 2]"', "b='*'"]
    words = start_process(TOOLS / script, *args, *given, **env).splitlines()
    tool = TOOLS / script.replace('dist_', '').replace('.sh', '.py')
    start = words.index(str(tool))
    assert words[start + 1 :] == [
        *(args[:-1]),
        *('--launcher', 'pytorch'),
        *given,
    ]
    assert words[:2] == ['-m', 'torch.distributed.run']
    assert '--nproc-per-node=3' in words[:start]
    rendezvous = (
        {'--nnodes=2', '--node-rank=1', '--master-addr=head'}
        | {'--master-port=5'}
        if several
        else {'--standalone'}
    )
    assert rendezvous <= set(words[:start])


@pytest.mark.parametrize(
    ('script', 'arguments'),
    [
        ('slurm_train.sh', ['a.py', '--work-dir', 'my work']),
        ('slurm_test.sh', ['a.py', 'my work']),
    ],
)
def test_what_srun_gets(script, arguments, tmp_path, start_process):
    write_echo(tmp_path / 'srun')
    words = start_process(
        *(TOOLS / script, 'part', 'my job', 'a.py', 'my work'),
        *('--cfg-options', 'a="[1, 2]"'),
        PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}',
        GPUS='16',
        SRUN_ARGS='--quotatype=auto --async',
    ).splitlines()
    tool = TOOLS / script.replace('slurm_', '').replace('.sh', '.py')
    start = words.index(str(tool))
    assert words[start + 1 :] == [
        *arguments,
        *('--launcher', 'slurm', '--cfg-options', 'a="[1, 2]"'),
    ]
    assert words[:start] == [
        *('--partition=part', '--job-name=my job', '--gres=gpu:8'),
        *('--ntasks=16', '--ntasks-per-node=8', '--cpus-per-task=5'),
        *('--kill-on-bad-exit=1', '--quotatype=auto', '--async'),
        *(sys.executable, '-u'),
    ]


@pytest.mark.parametrize(
    'script',
    ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'],
)
def test_missing_arguments(script, start_process):
    assert 'usage: ' in start_process(TOOLS / script, 'a.py', returncode=2)


def write_echo(path):
    """Writes a program that prints its arguments, one in each line."""
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    path.chmod(0o755)
    return path


ACT = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
@HOOKS.register_module()
class Act(Hook):
    def __init__(self, number):
        self.number = number
    def before_train_iter(self, runner, *args, **kwargs):
        if runner.iter == 3 and os.environ['RANK'] == '1':
            os.kill(os.getpid(), self.number)
"""
ACTING = """
_base_ = 'classifier.py'
custom_imports = dict(imports=['mmactive', 'act'])
train_cfg = dict(max_epochs=6)
train_dataloader = dict(batch_size=2)
custom_hooks = [dict(type='Act', number=15)]
env_cfg = dict(dist_cfg=dict(timeout=10))
"""


@pytest.mark.parametrize(
    ('number', 'message', 'iteration'),
    [
        (signal.SIGTERM, 'Ends because of SIGTERM; --resume goes on', 5),
        pytest.param(
            signal.SIGSTOP,
            'at iteration 4: process 1 of the run has ended or hangs',
            None,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_signal_to_one_of_two(
    number, message, iteration, workspace, start_process
):
    """Both end after the same iteration, or when one does not answer."""
    (workspace / 'act.py').write_text(ACT)
    (workspace / 'acting.py').write_text(ACTING)
    output = start_process(
        *(TOOLS / 'dist_train.sh', 'acting.py', 2, '--work-dir', 'two'),
        *('--cfg-options', f'custom_hooks.0.number={int(number)}'),
        returncode=1,
        PYTHONPATH=str(workspace),
    )
    assert message in output
    if iteration is not None:
        found = load('two/interrupted.pth')
        assert found['meta']['iter'] == iteration
        assert len(found['random_states']) == 2
