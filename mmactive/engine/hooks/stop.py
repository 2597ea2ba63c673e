# Copyright (c) mmactive contributors. All rights reserved.
import os
import signal
import subprocess
import threading
from typing import Any, Dict, Optional

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import distributed

from mmactive.registry import HOOKS

from .checkpoint_hook import CheckpointHook


@HOOKS.register_module()
class StopHook(Hook):
    """Saves and ends when the process is told to.

    After SIGTERM or SIGINT (Ctrl-C) the iteration is finished, what it has
    come to is saved, and the process exits with the usual code: 143 or 130. A
    second signal ends it at once. After SIGUSR1, which Slurm sends by
    ``--signal=USR1@60``, the job is also queued again. All processes of a
    distributed run end after the same iteration, whichever got the signal.

    Training that is told to end while it validates ends there if it has been
    saved since its last iteration, else when it trains again.
    """

    priority = 'LOWEST'
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def __init__(self) -> None:
        self._received = 0
        self._agreed = 0
        self._handlers: Dict[int, Any] = {}
        self._group = None
        self._flag: Optional[torch.Tensor] = None
        self._work: Optional[distributed.Work] = None

    def before_train(self, runner: Runner) -> None:
        """Begins to listen for signals."""
        if distributed.is_available() and distributed.is_initialized():
            # The GPUs do not wait for what the CPUs have to tell each other.
            self._group = distributed.new_group(backend='gloo')
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                self._handlers[number] = signal.signal(number, self._receive)

    def _receive(self, number: int, frame: object) -> None:
        if self._received:
            self.stop_listening()
            raise SystemExit(128 + number)
        self._received = number
        if is_main_process():
            # Loggers may be in use where the signal interrupts.
            name = signal.Signals(number).name
            os.write(
                2,
                f'\n{name}: saving after this iteration; a second signal ends '
                'the process at once.\n'.encode(),
            )

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Ends after this iteration if any process got a signal."""
        self._agreed = self._agree()
        wrapper = runner.optim_wrapper
        # Gradients that wait for others would be lost.
        waits = getattr(wrapper, '_inner_count', 0) % getattr(
            wrapper, '_accumulative_counts', 1
        )
        loop = runner.train_loop
        # After the last iteration of an epoch the epoch is saved.
        epoch_ends = not hasattr(loop, 'dataloader_iterator') and (
            (runner.iter + 1) % len(loop.dataloader) == 0
        )
        if self._agreed and not waits and not epoch_ends:
            self._stop(runner, runner.epoch, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Ends after this epoch if that was agreed on at its end."""
        if self._agreed and runner.iter < runner.max_iters:
            self._stop(runner, runner.epoch + 1, runner.iter)

    def after_val_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Ends in validation if nothing is lost by that."""
        alone = self._group is None
        if self._received and alone and self._is_saved(runner):
            self._exit(runner, self._received)

    def after_train(self, runner: Runner) -> None:
        """Stops listening."""
        if self._work is not None:
            self._work.wait()
        self.stop_listening()

    def _agree(self) -> int:
        """Returns the signal that any process had by the last iteration."""
        if self._group is None:
            return self._received
        agreed = 0
        if self._work is not None:
            self._work.wait()
            agreed = int(self._flag)
        self._flag = torch.tensor(self._received)
        self._work = distributed.all_reduce(
            self._flag, distributed.ReduceOp.MAX, self._group, async_op=True
        )
        return agreed

    def _is_saved(self, runner: Runner) -> bool:
        return any(
            isinstance(hook, CheckpointHook) and hook.saved_iter == runner.iter
            for hook in runner.hooks
        )

    def _stop(self, runner: Runner, epoch: int, step: int) -> None:
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                hook.save_interrupted(runner, epoch, step)
        self._exit(runner, self._agreed)

    def _exit(self, runner: Runner, number: int) -> None:
        self.stop_listening()
        name = signal.Signals(number).name
        runner.logger.info(f'Ends because of {name}; --resume goes on')
        job = os.getenv('SLURM_JOB_ID')
        if number == signal.SIGUSR1 and job and is_main_process():
            subprocess.run(['scontrol', 'requeue', job], check=True)
        raise SystemExit(128 + number)

    def stop_listening(self) -> None:
        """Leaves the signals to whoever had them before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
