# Copyright (c) mmactive contributors. All rights reserved.
"""What docs/en/several_machines.md says, as far as CPUs can do it."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch._dynamo.utils import counters

from mmactive.utils.checkpoint import load

from .conftest import ROOT, TOOLS

PAGE = (ROOT / 'docs' / 'en' / 'several_machines.md').read_text()
LINES = [
    line
    for block in re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
    for line in block.replace('\\\n', ' ').splitlines()
    if 'tools/train.py' in line
]


def train(line, run_tool, monkeypatch, *options):
    """Trains by a command of the page; returns the work dir."""
    words = shlex.split(line)
    while '=' in words[0]:
        monkeypatch.setenv(*words.pop(0).split('='))
    assert words[:3] == ['python', 'tools/train.py', 'CONFIG']
    run_tool(
        *('train.py', 'classifier.py', '--work-dir', 'run', '--overwrite'),
        *('--no-validate', *words[3:], *options),
    )
    return Path('run')


def find_line(text):
    (line,) = (line for line in LINES if text in line)
    return line


def test_all_are_run():
    assert len(LINES) == 5


def get_weights(path):
    return load(path)['state_dict']


def test_accumulated_gradients(workspace, run_tool, monkeypatch):
    """Those of four batches are those of one that is four times as large."""
    line = find_line('accumulative_counts=4')
    size = 'train_dataloader.batch_size'
    run_tool(
        *('train.py', 'classifier.py', '--work-dir', 'one', '--no-validate'),
        *('--cfg-options', f'{size}=16'),
    )
    work_dir = train(line, run_tool, monkeypatch, f'{size}=4')
    weights = get_weights(work_dir / 'epoch_1.pth')
    for name, weight in get_weights('one/epoch_1.pth').items():
        torch.testing.assert_close(weights[name], weight)


def test_compiled_training(workspace, run_tool, monkeypatch):
    """The same weights; breaks are mmengine's, none is of this package."""
    line = find_line('compile.backend=aot_eager')
    assert find_line('compile=True')
    run_tool(
        *('train.py', 'classifier.py', '--work-dir', 'one', '--no-validate')
    )
    torch._dynamo.reset()
    counters.clear()
    work_dir = train(line, run_tool, monkeypatch)
    assert counters['frames']['ok'] > 0
    breaks = '\n'.join(counters['graph_break'])
    for part in ('mmactive/models', 'mmactive/ops', 'mmactive::'):
        assert part not in breaks, breaks
    weights = get_weights(work_dir / 'epoch_1.pth')
    for name, weight in get_weights('one/epoch_1.pth').items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-4, atol=1e-5)


def test_tensorboard(workspace, run_tool, monkeypatch):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing import event_accumulator

    work_dir = train(find_line('TensorboardVis'), run_tool, monkeypatch)
    (events,) = work_dir.glob('*/vis_data/events.*')
    log = event_accumulator.EventAccumulator(str(events)).Reload()
    losses = [event.value for event in log.Scalars('loss')]
    (scalars,) = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert losses == pytest.approx([line['loss'] for line in lines])


def test_wandb(workspace, run_tool, monkeypatch):
    wandb = pytest.importorskip('wandb')
    work_dir = train(find_line('WandbVis'), run_tool, monkeypatch)
    wandb.finish()
    assert list(work_dir.glob('*/vis_data/wandb/offline-run-*/*.wandb'))


def test_two_machines(workspace, start_process):
    """Both are this one, with a process each."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    env = dict(
        os.environ,
        NNODES='2',
        MASTER_ADDR='127.0.0.1',
        PORT=str(port),
        PYTHON=sys.executable,
        OMP_NUM_THREADS='1',
        GLOO_SOCKET_IFNAME='lo',
    )
    command = [TOOLS / 'dist_train.sh', 'classifier.py', '1']
    runs = [
        subprocess.Popen(
            [*command, '--work-dir', 'two', '--no-validate'],
            env=dict(env, NODE_RANK=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert 'GPU number: 2' in outputs[0]
    # 16 images, 8 each
    assert load('two/epoch_1.pth')['meta']['iter'] == 1


SHARDED = f"""
_base_ = ['classifier.py', '{ROOT}/configs/_base_/strategies/fsdp.py']
strategy = dict(model_wrapper=dict(auto_wrap_policy=dict(
    type='mmactive.engine.strategies.wrap_large_layers',
    min_num_params=1000)))
custom_imports = dict(imports=['mmactive', 'note'])
custom_hooks = [dict(type='Note')]
"""
NOTE = """
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
@HOOKS.register_module()
class Note(Hook):
    def before_train_epoch(self, runner):
        numel = sum(x.numel() for x in runner.model.parameters())
        print(f'process {runner.rank} has {numel} parameters')
"""
# Vectors do not decay, as the configs for ImageNet have it.
DECAY = (
    'optim_wrapper.optimizer.weight_decay=20.0',
    'optim_wrapper.paramwise_cfg.flat_decay_mult=0.0',
    'train_dataloader.batch_size=4',
)


def test_shards_equal_the_whole(
    workspace, start_process, run_tool, monkeypatch
):
    """Weights as of two processes with a model each, and resumed as well."""
    monkeypatch.syspath_prepend(workspace)
    (workspace / 'sharded.py').write_text(SHARDED)
    (workspace / 'note.py').write_text(NOTE)

    def run(config, work_dir, *options):
        return start_process(
            *(TOOLS / 'dist_train.sh', config, 2, '--work-dir', work_dir),
            *(*options, '--cfg-options', 'train_cfg.max_epochs=2', *DECAY),
            PYTHONPATH=str(workspace),
        )

    run('classifier.py', 'whole')
    output = run('sharded.py', 'shards')
    whole = get_weights('whole/epoch_2.pth')
    count = sum(x.numel() for x in whole.values())
    sizes = re.findall(r'process \d has (\d+) parameters', output)
    assert all(0 < int(size) < 0.6 * count for size in sizes), sizes
    shards = get_weights('shards/epoch_2.pth')
    assert shards.keys() == whole.keys()
    start = get_weights('whole/epoch_1.pth')
    for name, weight in whole.items():
        torch.testing.assert_close(shards[name], weight)
        if name.endswith('weight'):
            assert not torch.allclose(weight, start[name]), name

    Path('resumed').mkdir()
    shutil.copy('shards/epoch_1.pth', 'resumed')
    run('sharded.py', 'resumed', '--resume')
    resumed = get_weights('resumed/epoch_2.pth')
    assert all(torch.equal(resumed[name], shards[name]) for name in shards)

    # In one process, with the other runner
    metrics = []
    for config, path in (('sharded.py', 'shards'), ('classifier.py', 'whole')):
        out = ('--out-item', 'metrics', '--out', 'metrics.json')
        run_tool('test.py', config, f'{path}/epoch_2.pth', *out)
        metrics.append(json.loads(Path('metrics.json').read_text()))
    assert metrics[0] == metrics[1]


DEEPSPEED = f"""
_base_ = ['classifier.py', '{ROOT}/configs/_base_/strategies/deepspeed.py']
optim_wrapper = dict(type='DeepSpeedOptimWrapper')
"""


@pytest.mark.slow  # compiles what DeepSpeed needs on CPUs
def test_deepspeed_resumes(workspace, start_process):
    """Its folders are whole, and a resumed run is the uninterrupted one."""
    pytest.importorskip('deepspeed')
    (workspace / 'deep.py').write_text(DEEPSPEED)

    def run(work_dir, *options):
        start_process(
            *(TOOLS / 'dist_train.sh', 'deep.py', 2, '--work-dir', work_dir),
            *(*options, '--cfg-options', 'train_cfg.max_epochs=2'),
        )
        start_process(
            *(sys.executable, f'{work_dir}/zero_to_fp32.py', work_dir),
            *(f'{work_dir}/weights', '--tag', 'epoch_2.pth'),
        )
        return load(f'{work_dir}/weights/pytorch_model.bin')

    whole = run('whole')
    assert not list(Path('whole').glob('*.tmp'))
    Path('resumed').mkdir()
    shutil.copytree('whole/epoch_1.pth', 'resumed/epoch_1.pth')
    resumed = run('resumed', '--resume')
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    with (
        torch.device('meta'),
        DefaultScope.overwrite_default_scope('mmpretrain'),
    ):
        cfg = Config.fromfile('deep.py')
        names = MODELS.build(cfg.model).state_dict()
    assert whole.keys() == names.keys()


ONE = """
_base_ = 'classifier.py'
strategy = dict(type='SingleDeviceStrategy')
"""


def test_flexible_runner(workspace, run_tool):
    """It has the checks and hooks of the other, and the same results."""
    (workspace / 'one.py').write_text(ONE)
    run_tool('train.py', 'classifier.py', '--work-dir', 'plain')
    run_tool('train.py', 'one.py', '--work-dir', 'one')
    plain, one = load('plain/epoch_1.pth'), load('one/epoch_1.pth')
    weights = one['state_dict']
    assert weights.keys() == plain['state_dict'].keys()
    for name, weight in plain['state_dict'].items():
        assert torch.equal(weights[name], weight), name
    assert 'random_states' in one
    assert Path('one/last_checkpoint').read_text().endswith('one/epoch_1.pth')
    assert not list(Path('one').glob('*.tmp'))

    start = ('train.py', 'one.py', '--overwrite', '--cfg-options')
    load_from = 'load_from=it.pth'
    lr = 'optim_wrapper.optimizer.lr=0.0'
    torch.save(dict(state_dict=weights), 'it.pth')
    run_tool(*start, load_from, lr)
    loaded = get_weights('work_dirs/one/epoch_1.pth')
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    name = 'backbone.stages.0.blocks.0.norm1.weight'
    weights.pop(name)
    torch.save(dict(state_dict=weights), 'it.pth')
    with pytest.raises(ValueError, match=f'it.pth: (?s:.*){name}'):
        run_tool(*start, load_from)
    with pytest.raises(ValueError, match=r'head.num_classes is 3, but Custom'):
        run_tool(*start, 'model.head.num_classes=3')
    hook = "custom_hooks=[{'type': 'EMAHook', 'momentum': 0.1}]"
    with pytest.raises(ValueError, match='EMAHook averages'):
        run_tool(*start, hook)


@pytest.mark.parametrize('name', ['fsdp', 'deepspeed'])
def test_examples(name):
    """They differ from what they inherit by the strategy."""
    path = ROOT / f'configs/strategies/activemlp-large_{name}_8xb128_in1k.py'
    cfg = Config.fromfile(path)
    base = Config.fromfile(
        ROOT / 'configs/imagenet/activemlp-large_8xb128_in1k.py'
    )
    assert cfg.model == base.model
    assert cfg.custom_hooks == []
    assert cfg.optim_wrapper.optimizer == base.optim_wrapper.optimizer
    assert name in cfg.strategy.type.lower()
    (snippet,) = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
    mine = Config.fromstring(snippet, '.py')
    assert mine.strategy.type == 'mmactive.FSDPStrategy'
    assert mine.model.backbone.arch == 'tiny'


def test_clipped_gradients_are_refused():
    from mmactive.engine.strategies import FSDPStrategy

    with pytest.raises(ValueError, match=r'optim_wrapper\.clip_grad'):
        FSDPStrategy.build_optim_wrapper(None, dict(clip_grad=1))
