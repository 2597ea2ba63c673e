# Copyright (c) mmactive contributors. All rights reserved.
import copy
import functools
import http.server
import inspect
import io
import os
import pickle
import threading
import zipfile

import mmengine.runner.checkpoint
import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from torch import nn

import mmactive  # noqa: F401
from mmactive.utils.checkpoint import load, load_from_local


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x, y, mode='tensor'):
        prediction = self.linear(x)
        if mode == 'loss':
            return dict(loss=(prediction - y).square().mean())
        return prediction


class NumpyMetric(BaseMetric):
    """As many metrics do, returns numpy numbers."""

    def process(self, data_batch, data_samples):
        self.results.append(float(data_samples[0]))

    def compute_metrics(self, results):
        return dict(accuracy=np.mean(results), count=np.int64(len(results)))


def make_runner(work_dir, epochs, **kwargs):
    data = [(torch.rand(2), torch.rand(1)) for _ in range(4)]
    loader = dict(
        dataset=data,
        batch_size=2,
        collate_fn=dict(type='default_collate'),
        sampler=dict(type='DefaultSampler', shuffle=True),
    )
    return Runner(
        model=Line(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        test_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=[NumpyMetric()],
        test_evaluator=[NumpyMetric()],
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=0.1),
            accumulative_counts=2,
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2),
            dict(type='CosineAnnealingLR', by_epoch=True, T_max=3),
        ],
        custom_hooks=[dict(type='EMAHook')],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', save_best='accuracy'),
            logger=dict(type='LoggerHook', interval=1),
        ),
        experiment_name=f'{work_dir.name}_{epochs}',
        **kwargs,
    )


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A runner after one epoch, and the checkpoint it wrote."""
    runner = make_runner(tmp_path_factory.mktemp('trained'), 1)
    runner.train()
    return runner, os.path.join(runner.work_dir, 'epoch_1.pth')


def test_load(trained):
    runner, path = trained
    checkpoint = load(path)
    assert set(checkpoint['state_dict']) == set(runner.model.state_dict())
    assert 'ema_state_dict' in checkpoint
    buffer = checkpoint['message_hub']['log_scalars']['train/loss']
    expected = runner.message_hub.get_scalar('train/loss')
    assert isinstance(buffer, HistoryBuffer)
    np.testing.assert_array_equal(buffer.data, expected.data)
    assert buffer.mean() == expected.mean()
    assert buffer.statistics('current') == expected.current()
    best = checkpoint['message_hub']['runtime_info']['best_score']
    assert best == runner.message_hub.get_info('best_score')


class ResumedState(Hook):
    """Notes the state that training goes on from."""

    def before_train(self, runner):
        self.progress = runner.epoch, runner.iter
        self.optimizer = copy.deepcopy(runner.optim_wrapper.state_dict())
        self.schedulers = [s.state_dict() for s in runner.param_schedulers]


def test_runner_resumes(trained, tmp_path):
    before, path = trained
    runner = make_runner(tmp_path, 2, load_from=path, resume=True)
    resumed = ResumedState()
    runner.register_hook(resumed)
    runner.train()
    assert resumed.progress == (1, 2)
    expected = before.optim_wrapper.state_dict()
    torch.testing.assert_close(resumed.optimizer, expected, rtol=0, atol=0)
    assert resumed.schedulers == [
        scheduler.state_dict() for scheduler in before.param_schedulers
    ]
    assert runner.epoch == 2
    history, _ = runner.message_hub.get_scalar('train/loss').data
    assert len(history) == 4


def test_runner_tests(trained, tmp_path):
    _, path = trained
    runner = make_runner(tmp_path, 1, load_from=path)
    assert 'accuracy' in runner.test()


def rename_in_pickle(path, target, old, new):
    """Copies a checkpoint and changes a name in its pickle."""
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(target, 'w', zipfile.ZIP_STORED) as copy,
    ):
        for info in source.infolist():
            data = source.read(info)
            if info.filename.endswith('data.pkl'):
                assert old in data
                data = data.replace(old, new)
            copy.writestr(info, data)


def test_checkpoint_of_other_numpy(trained, tmp_path):
    """numpy 2 renamed the modules that numpy 1's pickles name."""
    _, path = trained
    renamed = tmp_path / 'renamed.pth'
    here, there = b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n'
    if np.lib.NumpyVersion(np.__version__) < '2.0.0':
        here, there = there, here
    rename_in_pickle(path, renamed, here, there)
    checkpoint = load(renamed)
    buffer = checkpoint['message_hub']['log_scalars']['train/loss']
    assert len(buffer.data[0]) == 2


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def make_attacks(file):
    command = f'touch {file}'
    method = Call(getattr, HistoryBuffer, 'mean')
    scope = Call(getattr, method, '__globals__')
    return {
        'system': Call(os.system, command),
        'eval': Call(eval, f'open({str(file)!r}, "w")'),
        'exec': Call(exec, f'open({str(file)!r}, "w")'),
        'open': Call(open, str(file), 'w'),
        'partial': Call(functools.partial, os.system, command),
        'getattr of a builtin': Call(getattr, print, '__self__'),
        'getattr of a module': Call(getattr, Call(__import__, 'os'), 'system'),
        'getattr of the class': Call(getattr, HistoryBuffer, '__init__'),
        'getattr of its bases': Call(getattr, HistoryBuffer, '__subclasses__'),
        'getattr of a method': scope,
        'getattr of an array': Call(getattr, np.zeros(1), 'tofile'),
        'getattr of an array type': Call(getattr, np.ndarray, 'tofile'),
        'in an array': np.array([Call(os.system, command)], dtype=object),
        'in a buffer': make_buffer(Call(os.system, command)),
    }


def make_buffer(content):
    buffer = HistoryBuffer([1.0], [1])
    buffer.content = content
    return buffer


ATTACKS = list(make_attacks('unused'))


@pytest.fixture(params=ATTACKS)
def attack(request, tmp_path):
    """A checkpoint that wants to create a file, and that file."""
    victim = tmp_path / 'victim'
    path = tmp_path / 'attack.pth'
    content = make_attacks(victim)[request.param]
    torch.save(dict(state_dict=dict(weight=content)), path)
    return path, victim


def test_attack_works_without_protection(tmp_path):
    """The attacks of this file would do harm."""
    victim, path = tmp_path / 'victim', tmp_path / 'attack.pth'
    torch.save(make_attacks(victim)['system'], path)
    torch.load(path, weights_only=False)
    assert victim.exists()


def test_mmengine_refuses_attack(attack):
    path, victim = attack
    with pytest.raises(pickle.UnpicklingError, match='attack.pth is refused'):
        load_checkpoint(Line(), str(path))
    assert not victim.exists()


def test_runner_refuses_attack(tmp_path):
    victim, path = tmp_path / 'victim', tmp_path / 'attack.pth'
    torch.save(dict(meta=make_attacks(victim)['system']), path)
    for resume in (False, True):
        runner = make_runner(tmp_path, 1 + resume, load_from=str(path))
        runner._resume = resume
        with pytest.raises(pickle.UnpicklingError, match='system'):
            runner.train()
    assert not victim.exists()


@pytest.fixture
def server(tmp_path):
    """Serves the test's folder, returns the address."""
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path)
    )
    handler.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{httpd.server_port}'
        httpd.shutdown()


@pytest.mark.parametrize('attack', ['system'], indirect=True)
def test_url(attack, server, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    path, victim = attack
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(Line(), f'{server}/{path.name}')
    assert not victim.exists()
    torch.save(dict(state_dict=Line().state_dict()), tmp_path / 'good.pth')
    load_checkpoint(Line(), f'{server}/good.pth', strict=True)


@pytest.mark.parametrize('attack', ['system'], indirect=True)
def test_named_models_are_loaded_safely(attack, server, monkeypatch, tmp_path):
    """`torchvision://` and its like look up a URL and load that."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    path, victim = attack
    monkeypatch.setattr(
        mmengine.runner.checkpoint,
        'get_torchvision_models',
        lambda: dict(resnet50=f'{server}/{path.name}'),
    )
    with pytest.raises(pickle.UnpicklingError):
        CheckpointLoader.load_checkpoint('torchvision://resnet50')
    assert not victim.exists()


def test_load_from_local(tmp_path):
    path = tmp_path / 'model.pth'
    torch.save(dict(a=torch.arange(3)), path)
    assert load_from_local(str(path), 'cpu')['a'].tolist() == [0, 1, 2]
    loaded = load_from_local(str(path), map_location='meta')
    assert loaded['a'].is_meta
    with pytest.raises(FileNotFoundError, match='nothing.pth'):
        load_from_local(str(tmp_path / 'nothing.pth'), 'cpu')


@pytest.mark.parametrize('size', [0, 100])
def test_broken_file_is_named(tmp_path, size):
    path = tmp_path / 'broken.pth'
    torch.save(dict(a=torch.arange(3)), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RuntimeError, match='broken.pth does not load'):
        load_from_local(str(path), 'cpu')


@pytest.mark.parametrize('code', ['O', 'U5', 'V8', 'M8[s]', 'f8,f8', 'g'])
def test_only_numbers(tmp_path, code):
    torch.save(np.zeros(2, code), tmp_path / 'array.pth')
    with pytest.raises(pickle.UnpicklingError):
        load(tmp_path / 'array.pth')


@pytest.mark.parametrize('code', '?bhilqBHILQefdFD')
def test_arrays_and_numbers(tmp_path, code):
    array = np.arange(6).reshape(2, 3).astype(code)
    torch.save([array, array[1, 2]], tmp_path / 'array.pth')
    loaded, number = load(tmp_path / 'array.pth')
    assert loaded.dtype == number.dtype == array.dtype
    np.testing.assert_array_equal(loaded, array)
    assert number == array[1, 2]


@pytest.mark.parametrize('name', ['min', 'max', 'current', 'mean'])
def test_statistics_methods(name):
    stream = io.BytesIO()
    torch.save(Call(getattr, HistoryBuffer, name), stream)
    stream.seek(0)
    method = load(stream)
    assert method is getattr(HistoryBuffer, name)


# Arguments of all of them; each takes those that it knows.
SCHEDULER_ARGS = dict(
    base_momentum=0.8,
    eta_max=0.1,
    eta_min=0.0,
    gamma=0.9,
    max_iters=5,
    milestones=[1, 2],
    monitor='loss',
    periods=[5, 5],
    restart_weights=[1, 1],
    step_size=2,
    T_max=5,
    total_steps=10,
)


@pytest.mark.parametrize('name', sorted(PARAM_SCHEDULERS.module_dict))
def test_states_of_all_schedulers(name):
    """One of them, OneCycleLR, has a method in it."""
    scheduler_type = PARAM_SCHEDULERS.get(name)
    arguments = dict(param_name='lr') if 'ParamScheduler' in name else {}
    for cls in scheduler_type.__mro__:
        for argument in inspect.signature(cls).parameters:
            if argument in SCHEDULER_ARGS:
                arguments[argument] = SCHEDULER_ARGS[argument]
        if cls.__name__.endswith('ParamScheduler'):
            break
    optimizer = torch.optim.SGD(Line().parameters(), lr=0.1, momentum=0.9)
    state = scheduler_type(optimizer, **arguments).state_dict()
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    assert load(stream) == state


@pytest.mark.parametrize(
    'name', ['http://127.0.0.1:9/net.pth', 'open-mmlab://net', 'mmcls://net']
)
def test_what_cannot_be_fetched_is_named(name, monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setenv('no_proxy', '*')
    with pytest.raises(RuntimeError, match=f'^{name} does not load: '):
        CheckpointLoader.load_checkpoint(name)
