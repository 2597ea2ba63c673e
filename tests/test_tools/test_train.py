# Copyright (c) mmactive contributors. All rights reserved.
import json
import signal
import sys

import pytest
import torch
from mmengine.config import Config

from mmactive.utils.checkpoint import load

from .conftest import CONFIGS, TOOLS


def read_log(work_dir):
    """Returns the scalars of the newest run, one dict for each line."""
    path = sorted(work_dir.glob('*/vis_data/scalars.json'))[-1]
    return [json.loads(line) for line in path.read_text().splitlines()]


def load_weights(path):
    return load(path)['state_dict']


@pytest.mark.parametrize('task', CONFIGS)
def test_trains_and_validates(task, workspace, run_tool):
    run_tool('train.py', f'{task}.py')
    # The default work dir is named after the config.
    work_dir = workspace / 'work_dirs' / task
    assert (work_dir / 'last_checkpoint').exists()
    log = read_log(work_dir)
    assert all(line['loss'] > 0 for line in log if 'loss' in line)
    metric = dict(
        classifier='accuracy/top1', detector='coco/bbox_mAP', segmentor='mIoU'
    )
    assert metric[task] in log[-1]


def test_options_reach_the_config(workspace, run_tool):
    run_tool(
        'train.py',
        'classifier.py',
        *('--work-dir', 'elsewhere'),
        '--no-validate',
        '--no-pin-memory',
        '--no-persistent-workers',
        *('--cfg-options', 'train_dataloader.batch_size=4', 'env_cfg.b=[1,2]'),
    )
    cfg = Config.fromfile(workspace / 'elsewhere' / 'classifier.py')
    assert cfg.train_dataloader.batch_size == 4
    assert cfg.train_dataloader.pin_memory is False
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.env_cfg.b == [1, 2]
    assert cfg.val_cfg is None
    log = read_log(workspace / 'elsewhere')
    assert len(log) == 4  # of 16 images; no line of a validation


@pytest.mark.parametrize('task', CONFIGS)
def test_amp_on_cpu(task, workspace, run_tool):
    with pytest.warns(UserWarning, match='bfloat16'):
        run_tool('train.py', f'{task}.py', '--amp')
    log = read_log(workspace / 'work_dirs' / task)
    assert log[0]['loss'] > 0
    (checkpoint,) = (workspace / 'work_dirs' / task).glob('*.pth')
    for weight in load_weights(checkpoint).values():
        if weight.is_floating_point():
            assert weight.dtype == torch.float32
            assert weight.isfinite().all()


def test_auto_scale_lr(workspace, run_tool):
    # 1e-3 is meant for 1024 images, here are 8.
    run_tool('train.py', 'classifier.py', '--auto-scale-lr', '--no-validate')
    log = read_log(workspace / 'work_dirs' / 'classifier')
    assert log[0]['lr'] == pytest.approx(1e-3 * 8 / 1024)


def test_resume_without_a_checkpoint_keeps_load_from(workspace, run_tool):
    run_tool('train.py', 'classifier.py', '--no-validate')
    first = 'work_dirs/classifier/epoch_1.pth'
    run_tool(
        'train.py',
        'classifier.py',
        *('--work-dir', 'new', '--resume', '--no-validate'),
        *('--cfg-options', f'load_from={first}'),
        'optim_wrapper.optimizer.lr=0.0',
    )
    expected, found = load_weights(first), load_weights('new/epoch_1.pth')
    for name, weight in expected.items():
        assert torch.equal(weight, found[name]), name


def test_resumes_after_a_kill(workspace, run_tool, start_process):
    """A run that dies in an epoch ends with the weights of one that lives."""
    (workspace / 'deadly.py').write_text(
        'import os, signal\n'
        'from mmengine.hooks import Hook\n'
        'from mmengine.registry import HOOKS\n'
        '@HOOKS.register_module()\n'
        'class Deadly(Hook):\n'
        '    def before_train_iter(self, runner, *args, **kwargs):\n'
        '        if runner.iter == 5:\n'
        '            os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    (workspace / 'long.py').write_text(
        "_base_ = 'classifier.py'\n"
        'train_cfg = dict(max_epochs=4)\n'
        # A schedule and averaged weights have to be resumed too.
        "param_scheduler = [dict(type='CosineAnnealingLR', T_max=4)]\n"
        "custom_hooks = [dict(type='EMAHook', momentum=0.1)]\n"
    )
    (workspace / 'mortal.py').write_text(
        "_base_ = 'long.py'\n"
        "custom_imports = dict(imports=['mmactive', 'deadly'])\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='Deadly')]\n"
    )
    # Two iterations an epoch: the third epoch has begun
    start_process(
        *(sys.executable, TOOLS / 'train.py', 'mortal.py'),
        *('--work-dir', 'killed'),
        returncode=-signal.SIGKILL,
        PYTHONPATH=str(workspace),
    )
    assert not (workspace / 'killed' / 'epoch_3.pth').exists()
    torch.set_num_threads(1)
    run_tool('train.py', 'long.py', '--work-dir', 'killed', '--resume')
    resumed = [line for line in read_log(workspace / 'killed') if 'lr' in line]
    assert [line['epoch'] for line in resumed] == [3, 3, 4, 4]

    run_tool('train.py', 'long.py', '--work-dir', 'alive')
    killed = load('killed/epoch_4.pth')
    alive = load('alive/epoch_4.pth')
    for key in ('state_dict', 'ema_state_dict'):
        for name, weight in alive[key].items():
            torch.testing.assert_close(killed[key][name], weight)
    lr = [line['lr'] for line in read_log(workspace / 'alive') if 'lr' in line]
    assert [line['lr'] for line in resumed] == pytest.approx(lr[4:])


def test_resumes_from_a_given_checkpoint(workspace, run_tool):
    options = ('--no-validate', '--cfg-options')
    run_tool('train.py', 'classifier.py', *options, 'train_cfg.max_epochs=1')
    run_tool(
        'train.py',
        'classifier.py',
        *('--resume', 'work_dirs/classifier/epoch_1.pth'),
        *('--work-dir', 'other'),
        *options,
        'train_cfg.max_epochs=2',
    )
    log = read_log(workspace / 'other')
    assert [line['epoch'] for line in log] == [2, 2]


@pytest.mark.parametrize(
    ('args', 'error', 'message'),
    [
        (['no.py'], FileNotFoundError, r"config: .*'no\.py'"),
        (
            ['classifier.py', '--resume', 'no.pth'],
            FileNotFoundError,
            r"--resume: .*'no\.pth'",
        ),
        (
            ['classifier.py', '--cfg-options', 'load_from=no.pth'],
            FileNotFoundError,
            r"load_from: .*'no\.pth'",
        ),
        (
            ['segmentor.py', '--auto-scale-lr'],
            ValueError,
            r'--auto-scale-lr: .*base_batch_size',
        ),
        (
            [
                *('classifier.py', '--amp'),
                *('--cfg-options', 'optim_wrapper.type=ApexOptimWrapper'),
            ],
            ValueError,
            r'--amp: .*ApexOptimWrapper',
        ),
        (
            ['classifier.py', '--cfg-options', 'train_dataloader=None'],
            ValueError,
            r'train_dataloader\.dataset is required',
        ),
        (
            [
                *('detector.py', '--cfg-options'),
                'train_dataloader.dataset.data_root=data/no',
            ],
            FileNotFoundError,
            r"train_dataloader\.dataset\.data_root: .*'data/no'",
        ),
        (
            ['classifier.py', '--cfg-options', 'default_scope=mmrotate'],
            ValueError,
            r"default_scope .*'mmrotate'",
        ),
        (
            ['classifier.py', '--launcher', 'slurm'],
            RuntimeError,
            r"launcher: 'slurm' needs a GPU",
        ),
    ],
)
def test_bad_input_is_named(args, error, message, workspace, run_tool):
    if 'slurm' in args and torch.cuda.is_available():
        pytest.skip('this error is about machines without a GPU')
    with pytest.raises(error, match=message):
        run_tool('train.py', *args)
