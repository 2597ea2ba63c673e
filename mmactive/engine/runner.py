# Copyright (c) mmactive contributors. All rights reserved.
"""mmengine's runner, which loses nothing and says what is at fault."""

import errno
import multiprocessing
import os
import os.path as osp
import time
from datetime import timedelta
from inspect import isclass
from typing import Any, List, Optional, Union

import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import (
    broadcast_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook
from mmengine.optim import BaseOptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop
from mmengine.runner import Runner as MMEngineRunner
from mmengine.visualization import Visualizer
from torch import distributed, nn
from torch.utils.data import DataLoader

from mmactive.registry import RUNNERS

from .checks.checkpoint import loading, loading_by
from .checks.data import (
    CheckedPipeline,
    check_dataset,
    check_evaluator,
    check_same_classes,
    checked_loading,
    compare_classes,
    iter_leaves,
)
from .checks.heads import (
    check_batch_augments,
    check_num_classes,
    reads_names,
)
from .hooks import StopHook
from .pictures import caption
from .random_state import seed_batches, skip_batches
from .work_dir import find_checkpoint

# What a full disk, a quota and a limit of file sizes come up as
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Seconds that a process has to say that it is still there
ANSWER_TIME = 10

# One of mmengine's runners comes after the class here in the bases.
_Base: Any = object


class CheckedRunner(_Base):
    """What is added to mmengine's runners, before one of them in the bases.

    A run that is resumed does what it would have done uninterrupted. To
    mmengine's default hooks come ``stop`` and ``finite_loss``, and
    ``checkpoint`` writes files that are whole; see
    :mod:`mmactive.engine.hooks`. None in the config leaves one out.

    Says what is wrong where mmengine and the libraries stop with an error that
    does not tell: a data set without images or with a broken annotation file,
    an image or label map that cannot be processed, numbers of classes that do
    not agree, and a checkpoint of other heads.
    """

    _load_from: Optional[str]  # MMEngine's

    @staticmethod
    def build_dataloader(
        dataloader: Union[DataLoader, dict],
        seed: Optional[int] = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Builds a dataloader.

        Args:
            dataloader (DataLoader | dict): The dataloader or its config.
            seed (int, optional): Seed of the sampler. Defaults to None.
            diff_rank_seed (bool): Whether processes have different seeds.
                Defaults to False.

        Returns:
            DataLoader: The dataloader.

        Raises:
            ValueError: If the dataset has no images or none with labels, or if
                there is something wrong with its annotation file. The error
                names the file or folder.
            FileNotFoundError: If an image has no label map.
        """
        with checked_loading() as files:
            loader = MMEngineRunner.build_dataloader(
                dataloader, seed, diff_rank_seed
            )
        for dataset in iter_leaves(loader.dataset):
            if isinstance(dataset, BaseDataset):
                check_dataset(dataset, files)
                dataset.pipeline = CheckedPipeline(dataset)
        seed_batches(loader, seed)
        return loader

    def _check_trained_classes(self, checkpoint: dict, filename: str) -> None:
        """Checks that a dataset has the classes that a checkpoint knows."""
        meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        classes = meta.get('classes')
        if classes is None or reads_names(self.model):
            return
        for loop in (self._val_loop, self._test_loop):
            if isinstance(loop, BaseLoop):
                for dataset in iter_leaves(loop.dataloader.dataset):
                    compare_classes(dataset, classes, filename)

    def build_visualizer(
        self, visualizer: Optional[Union[dict, Visualizer]] = None
    ) -> Visualizer:
        """Builds the visualizer, whose pictures say what is the truth.

        Args:
            visualizer (dict | Visualizer, optional): As mmengine's.

        Returns:
            Visualizer: That of the config, with captions
            (:mod:`mmactive.engine.pictures`).
        """
        return caption(super().build_visualizer(visualizer))

    def build_train_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        """Builds the loop of training, and checks the number of classes.

        Raises:
            ValueError: If a head has another number of classes than the
                dataset, or than a classifier's preprocessor. The error names
                both.
        """
        loop = super().build_train_loop(loop)
        check_num_classes(self.model, loop.dataloader.dataset)
        check_batch_augments(self.model)
        return loop

    def build_evaluator(
        self, evaluator: Union[dict, list, Evaluator]
    ) -> Evaluator:
        """Builds an evaluator, and checks the annotation files it reads.

        Raises:
            ValueError: If there is something wrong with an annotation file.
                The error names it.
        """
        with checked_loading():
            return super().build_evaluator(evaluator)

    def build_val_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        """Builds the loop of validation, and checks classes and metrics.

        Raises:
            ValueError: If a head has another number of classes than the
                dataset, if labels stand for other classes than in training,
                or if metrics cannot be calculated. The error names both.
        """
        loop = super().build_val_loop(loop)
        dataset = loop.dataloader.dataset
        trains = isinstance(self._train_loop, BaseLoop)
        if trains and not reads_names(self.model):
            check_same_classes(dataset, self._train_loop.dataloader.dataset)
        check_num_classes(self.model, dataset)
        check_evaluator(loop.evaluator, dataset)
        return loop

    def build_test_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        """Builds the loop of testing, and checks classes and metrics.

        Raises:
            ValueError: If a head has another number of classes than the
                dataset, or if metrics cannot be calculated. The error names
                both.
        """
        loop = super().build_test_loop(loop)
        check_num_classes(self.model, loop.dataloader.dataset)
        check_evaluator(loop.evaluator, loop.dataloader.dataset)
        return loop

    def register_default_hooks(self, hooks: Optional[dict] = None) -> None:
        """Registers mmengine's default hooks and those of this package.

        Args:
            hooks (dict, optional): Hooks or their configs by name. None leaves
                a hook out.
        """
        hooks = dict(
            dict(
                checkpoint=dict(type='CheckpointHook', interval=1),
                stop=dict(type='mmactive.StopHook'),
                finite_loss=dict(type='mmactive.FiniteLossHook'),
            ),
            **(hooks or {}),
        )
        for name in ('stop', 'finite_loss'):
            if hooks[name] is None:
                del hooks[name]
        checkpoint = hooks['checkpoint']
        if isinstance(checkpoint, dict):
            kind = checkpoint.get('type')
            kind = kind if isclass(kind) else HOOKS.get(kind)
            if kind is CheckpointHook:
                hooks['checkpoint'] = dict(
                    checkpoint, type='mmactive.CheckpointHook'
                )
        super().register_default_hooks(hooks)

    def load_or_resume(self) -> None:
        """Loads weights, or resumes what all processes take for the newest."""
        wanted = self._resume and self._load_from is None
        if wanted and not self._has_loaded:
            found: List[Optional[str]] = [None]
            if is_main_process():
                found = [find_checkpoint(self.work_dir, self._get_out_dir())]
            broadcast_object_list(found)
            self._load_from = found[0]
        wrapper = self.optim_wrapper
        if self.cfg.get('compile') and isinstance(wrapper, BaseOptimWrapper):
            # A step is compiled anew for every learning rate, if at all.
            wrapper.update_params = torch.compiler.disable(
                wrapper.update_params
            )
        super().load_or_resume()

    def _get_out_dir(self) -> Optional[str]:
        """Returns the folder of the checkpoints, if it is another one."""
        for hook in self.hooks:
            if isinstance(hook, CheckpointHook) and hook.out_dir is not None:
                name = osp.basename(self.work_dir.rstrip(osp.sep))
                return osp.join(hook.out_dir, name)
        return None

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Resumes training where a checkpoint was saved.

        Args:
            filename (str): File or URL.
            args (tuple): As mmengine's.
            kwargs (dict): As mmengine's.
        """
        super().resume(filename, *args, **kwargs)
        skip_batches(self.train_loop, self.seed)
        if self.iter >= self.max_iters:
            self._finished = filename

    def train(self) -> nn.Module:
        """Trains.

        Returns:
            nn.Module: The model.

        Raises:
            OSError: If the disk is full. The error names the file or folder.
            RuntimeError: If another process of the run does not answer. The
                error names it.
        """
        self._finished = None
        try:
            model = super().train()
        except OSError as error:
            if error.errno not in FULL or error.filename:
                raise
            reason = os.strerror(error.errno)
            raise OSError(error.errno, reason, self.work_dir) from error
        except RuntimeError as error:
            if 'DataLoader timed out' in str(error):
                # Python waits at its end even for processes that are stopped.
                for child in multiprocessing.active_children():
                    child.kill()
            if distributed.is_initialized() and _is_of_others(error):
                raise RuntimeError(
                    f'process {get_rank()} at iteration {self.iter + 1}: '
                    f'{_find_silent_processes()}: {error}'
                ) from error
            raise
        finally:
            for hook in self.hooks:
                if isinstance(hook, StopHook):
                    hook.stop_listening()
        if self._finished is not None:
            self.logger.warning(
                f'{self._finished} is the end of this training: all '
                f'{self.max_iters} iterations are done, and there was nothing '
                'to resume'
            )
        return model


@RUNNERS.register_module()
class Runner(CheckedRunner, MMEngineRunner):
    """Runs a config; ``runner_type = 'mmactive.Runner'`` in one of yours.

    See :class:`CheckedRunner` for what it does beyond mmengine's.
    """

    def load_checkpoint(self, filename: str, *args, **kwargs) -> dict:
        """Loads a checkpoint into the model, all of it or as a start.

        Args:
            filename (str): File or URL.
            args (tuple): As mmengine's.
            kwargs (dict): As mmengine's.

        Returns:
            dict: The checkpoint.

        Raises:
            ValueError: If the weights do not fit
                (:mod:`mmactive.engine.checks.checkpoint`), or if in a test a
                label stands for another class than it was trained for. The
                error names both.
        """
        with loading(all_models=True):
            checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        if not isinstance(self._train_loop, BaseLoop):
            self._check_trained_classes(checkpoint, filename)
        return checkpoint

    def _init_model_weights(self) -> None:
        """Initializes the weights, from checkpoints that fit."""
        with loading_by(self.cfg, starts=True, all_models=True):
            super()._init_model_weights()


def _is_of_others(error: RuntimeError) -> bool:
    """Tells whether an error comes from talking to other processes."""
    backend_error = getattr(distributed, 'DistBackendError', ())
    return isinstance(error, backend_error) or 'gloo' in str(error)


def _find_silent_processes() -> str:
    """Names the processes of a run that do not say that they have failed.

    Those that live notice at about the same time that one does not answer.
    """
    ranks = set(range(get_world_size())) - {get_rank()}
    try:
        store = distributed.distributed_c10d._get_default_store()
        store.set_timeout(timedelta(seconds=ANSWER_TIME))
        store.set(f'failed/{get_rank()}', '1')
        end = time.monotonic() + ANSWER_TIME
        while ranks and time.monotonic() < end:
            time.sleep(0.1)
            ranks -= {r for r in ranks if store.check([f'failed/{r}'])}
    except RuntimeError:
        return 'the first process of the run, which keeps its store, is gone'
    if not ranks:
        return 'all processes are there, but one was too late'
    names = ', '.join(map(str, sorted(ranks)))
    return f'process {names} of the run has ended or hangs'
