# Copyright (c) mmactive contributors. All rights reserved.
import os.path as osp
from typing import Dict, List, Optional, Union

from mmengine.dist import (
    all_gather_object,
    get_rank,
    get_world_size,
    is_main_process,
    master_only,
)
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import _load_checkpoint

from mmactive.registry import HOOKS
from mmactive.utils import mmengine_loader
from mmactive.utils.checkpoint import dump_published
from mmactive.utils.files import write_atomically

from ..random_state import get_random_state, set_random_state
from ..work_dir import INTERRUPTED, POINTER


@register_backend('atomic')
class AtomicBackend(LocalBackend):
    """Files on local disks that are either whole or not there."""

    def put(self, obj: Union[bytes, memoryview], filepath: str) -> None:
        """Writes a file; see :func:`mmactive.utils.files.write_atomically`."""
        write_atomically(str(filepath), obj)


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """Saves checkpoints so that there is a whole one at any time.

    A file is written beside its place and then renamed, and what it replaces
    is removed after that. The states of all processes' generators of random
    numbers are saved with it, and restored from there.

    Args:
        args (tuple): As mmengine's.
        published_suffix (str): Format of what ``published_keys`` makes of the
            last and best checkpoints: '.pth' or '.safetensors'. Defaults to
            '.pth'.
        kwargs (dict): As mmengine's.

    Raises:
        ValueError: If ``published_suffix`` is another one.
    """

    # MMEngine's
    backend_args: Optional[dict]
    best_ckpt_path: Optional[str]
    best_ckpt_path_dict: dict

    def __init__(
        self, *args, published_suffix: str = '.pth', **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        if published_suffix not in ('.pth', '.safetensors'):
            raise ValueError(
                "published_suffix must be '.pth' or '.safetensors', but got "
                f'{published_suffix!r}'
            )
        self.published_suffix = published_suffix
        self.saved_iter = -1
        self._random_states: Optional[List[dict]] = None
        self._progress: Dict[str, int] = {}
        self._resumed_states: Optional[List[dict]] = None

    def before_train(self, runner: Runner) -> None:
        """Prepares saving, and restores the generators of a resumed run."""
        if self.file_client_args is None and self.backend_args is None:
            folder = str(self.out_dir or runner.work_dir)
            if '://' not in folder:
                self.backend_args = dict(backend='atomic')
        super().before_train(runner)
        self._adopt_best_checkpoints()
        states, self._resumed_states = self._resumed_states, None
        if states is None:
            return
        if len(states) == get_world_size():
            set_random_state(states[get_rank()])
        else:
            runner.logger.warning(
                f'The checkpoint is of {len(states)} processes, here are '
                f'{get_world_size()}: random numbers start anew.'
            )

    def _adopt_best_checkpoints(self) -> None:
        """Takes the best checkpoints of a moved folder for those here.

        What a better one replaces would else be removed at the old place.
        """
        if self.save_best:
            paths = self._replace_best({})
            for key, path in paths.items():
                name = osp.basename(path)
                paths[key] = self.file_backend.join_path(self.out_dir, name)
            self._replace_best(paths)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the states of the generators, and how far training is."""
        if self._random_states is not None:
            checkpoint['random_states'] = self._random_states
            # FlexibleRunner's is what it would be at the end of an epoch.
            checkpoint['meta'].update(self._progress)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keeps the states of the generators for the start of training.

        Raises:
            ValueError: If a training is to be resumed from weights alone.
        """
        if not runner._resume:
            return
        states = ('meta', 'message_hub', 'optimizer')
        missing = [key for key in states if not checkpoint.get(key)]
        if missing:
            raise ValueError(
                f'{mmengine_loader.last_name}: no training can go on from it, '
                f'since it has no {", ".join(missing)}: it was published, or '
                'saved with save_optimizer=False; load_from starts one from '
                'its weights'
            )
        self._resumed_states = checkpoint.get('random_states')

    def save_interrupted(self, runner: Runner, epoch: int, step: int) -> None:
        """Saves what a run that is asked to end can go on from.

        Args:
            runner (Runner): The runner.
            epoch (int): Number of epochs that have ended.
            step (int): Number of iterations that have ended.
        """
        if self.saved_iter == step:
            return
        self._save_as(runner, INTERRUPTED, dict(epoch=epoch, iter=step))
        runner.logger.info(f'Saved {self.last_ckpt} at {step} iterations')

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict
    ) -> None:
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self.keep_ckpt_ids.popleft())
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info(
                'keep_ckpt_ids', list(self.keep_ckpt_ids)
            )
        self._save_as(runner, self.filename_tmpl.format(step), meta)
        names = [self.filename_tmpl.format(step) for step in outdated]
        for name in (*names, INTERRUPTED):
            self._remove(self.file_backend.join_path(self.out_dir, name))

    def _save_as(self, runner: Runner, name: str, meta: dict) -> None:
        """Saves a checkpoint that a run can go on from."""
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        self.saved_iter = meta['iter']
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._random_states = all_gather_object(get_random_state())
        self._progress = dict(meta)
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        finally:
            self._random_states = None
        if is_main_process():
            pointer = osp.join(runner.work_dir, POINTER)
            write_atomically(pointer, str(self.last_ckpt).encode())

    def before_val(self, runner: Runner) -> None:
        """Keeps the generators' states, which validation may change."""
        self._state_of_training = get_random_state()

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        """Saves the best checkpoint, with the generators as of training."""
        set_random_state(self._state_of_training)
        super().after_val_epoch(runner, metrics)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        # mmengine's hook removes the former best before it saves the new one,
        # unless it knows of none.
        former = self._replace_best({})
        super()._save_best_checkpoint(runner, metrics)
        best = self._replace_best({})
        self._replace_best({**former, **best})
        for key in best:
            if former.get(key) not in (None, best[key]):
                self._remove(former[key])

    def _replace_best(self, paths: Dict[str, str]) -> Dict[str, str]:
        """Sets the paths of the best checkpoints; returns what they were."""
        keys = self.key_indicators
        if len(keys) == 1:
            former = {keys[0]: self.best_ckpt_path}
            self.best_ckpt_path = paths.get(keys[0])
        else:
            former = dict(self.best_ckpt_path_dict)
            self.best_ckpt_path_dict = {key: paths.get(key) for key in keys}
        return {key: path for key, path in former.items() if path}

    @master_only
    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        checkpoint = _load_checkpoint(ckpt_path)
        removed = sorted(checkpoint.keys() - set(self.published_keys))
        path, content = dump_published(
            checkpoint,
            osp.splitext(ckpt_path)[0] + self.published_suffix,
            self.published_keys,
        )
        self.file_backend.put(content, path)
        runner.logger.info(
            f'{ckpt_path} is published to {path}, without {removed}; '
            'published_keys lists what to keep'
        )

    @master_only
    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            # deepspeed's checkpoints are folders.
            self.file_backend.rmtree(path)
