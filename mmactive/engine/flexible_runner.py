# Copyright (c) mmactive contributors. All rights reserved.
import os.path as osp
from typing import Any, List, Union

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import FlexibleRunner as MMEngineFlexibleRunner
from mmengine.runner import load_checkpoint
from mmengine.runner.base_loop import BaseLoop
from torch import nn

from mmactive.registry import RUNNERS
from mmactive.utils.files import replace

from .checks.checkpoint import loading, loading_by
from .runner import CheckedRunner


@RUNNERS.register_module()
class FlexibleRunner(CheckedRunner, MMEngineFlexibleRunner):
    """Runs a config with one of mmengine's strategies: FSDP, DeepSpeed, ...

    It is the runner of configs that have a ``strategy``. See
    :class:`mmactive.engine.runner.CheckedRunner` for what it does beyond
    mmengine's. The weights to start from are loaded before the strategy cuts
    the model into shards, so that they have to fit as they do elsewhere.
    """

    model: Any

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'FlexibleRunner':
        """Builds the runner of a config.

        Args:
            cfg (Config): The config.

        Returns:
            FlexibleRunner: The runner.
        """
        runner = super().from_cfg(cfg)
        # mmengine's does not pass it on.
        runner._compile = cfg.get('compile', False)
        return runner

    def register_custom_hooks(self, hooks: List[Union[Hook, dict]]) -> None:
        """Registers the hooks of a config.

        Args:
            hooks (list[Hook | dict]): Hooks or their configs.

        Raises:
            ValueError: If weights are to be averaged, which mmengine's hook
                does in models that are whole.
        """
        super().register_custom_hooks(hooks)
        if any(isinstance(hook, EMAHook) for hook in self.hooks):
            raise ValueError(
                'custom_hooks: EMAHook averages the weights of whole models; '
                'a config with a strategy must leave it out'
            )

    def train(self) -> nn.Module:
        """Trains; see :meth:`CheckedRunner.train`."""
        self._build_model()
        return super().train()

    def val(self) -> dict:
        """Validates.

        Returns:
            dict: The metrics.
        """
        self._build_model()
        return super().val()

    def test(self) -> dict:
        """Tests.

        Returns:
            dict: The metrics.
        """
        self._build_model()
        return super().test()

    def _build_model(self) -> None:
        """Builds the model, which loads its weights as it initializes them."""
        if isinstance(self.model, nn.Module):
            return
        model = self.model = self.strategy.build_model(self.model)
        init_weights = model.init_weights

        def init_and_load() -> None:
            starts = isinstance(self._train_loop, BaseLoop)
            with loading_by(self.cfg, starts, all_models=True):
                init_weights()
                if self._load_from is not None and not self._resume:
                    checkpoint = load_checkpoint(model, self._load_from, 'cpu')
                    self._has_loaded = True
                    if not starts:
                        self._check_trained_classes(
                            checkpoint, self._load_from
                        )

        model.init_weights = init_and_load

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Resumes training where a checkpoint was saved.

        Args:
            filename (str): File, or folder if that is what the strategy saves.
            args (tuple): As mmengine's.
            kwargs (dict): As mmengine's.
        """
        with loading(all_models=True, starts=False):
            super().resume(filename, *args, **kwargs)

    def save_checkpoint(
        self, out_dir: str, filename: str, *args, **kwargs
    ) -> None:
        """Saves a checkpoint beside its place, and then renames it.

        Args:
            out_dir (str): Folder of the checkpoints.
            filename (str): Name of the file or folder.
            args (tuple): As mmengine's.
            kwargs (dict): As mmengine's.
        """
        temporary = f'{filename}.tmp'
        super().save_checkpoint(out_dir, temporary, *args, **kwargs)
        barrier()
        if is_main_process():
            replace(osp.join(out_dir, temporary), osp.join(out_dir, filename))
        barrier()
