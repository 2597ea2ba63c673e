# Copyright (c) mmactive contributors. All rights reserved.
"""mmengine's strategies that divide a model among processes."""

from contextlib import suppress
from typing import Any, Callable, Optional, Union

import torch
from mmengine._strategy import DeepSpeedStrategy as MMEngineDeepSpeedStrategy
from mmengine._strategy import FSDPStrategy as MMEngineFSDPStrategy
from mmengine._strategy import deepspeed as mmengine_deepspeed
from mmengine.device import get_device
from mmengine.optim import BaseOptimWrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmactive.registry import STRATEGIES

# What mmengine registers, if deepspeed has it
_register_optimizers = mmengine_deepspeed.register_deepspeed_optimizers


def wrap_large_layers(
    module: nn.Module,
    recurse: bool,
    nonwrapped_numel: int,
    min_num_params: int = 500_000,
) -> bool:
    """Tells FSDP which layers are units of their own.

    These are single layers. What contains layers may have methods that are
    called instead of it, as blocks and heads here have, and then FSDP would
    not collect their parameters.

    Args:
        module (nn.Module): A module of the model.
        recurse (bool): Whether to ask for what is in it instead.
        nonwrapped_numel (int): Number of its parameters.
        min_num_params (int): From how many parameters on a layer is a unit.
            Defaults to 500,000.

    Returns:
        bool: The answer.
    """
    is_layer = not any(True for _ in module.children())
    return recurse or (is_layer and nonwrapped_numel >= min_num_params)


@STRATEGIES.register_module()
class FSDPStrategy(MMEngineFSDPStrategy):
    """PyTorch's fully sharded data parallelism, on CPUs as well.

    The optimizer's groups are made of whole parameters, since shards are flat
    as vectors are, that often do not decay.

    Args:
        model_wrapper (dict, optional): Arguments of
            ``MMFullyShardedDataParallel``. ``auto_wrap_policy`` defaults to
            :func:`wrap_large_layers`.
        state_dict_cfg (str | dict): What checkpoints hold: 'full', the model
            as without FSDP in one file, or see mmengine's. Defaults to
            'full'.
        kwargs (dict): As mmengine's.
    """

    def __init__(
        self,
        *,
        model_wrapper: Optional[dict] = None,
        state_dict_cfg: Union[str, dict] = 'full',
        **kwargs,
    ) -> None:
        defaults = dict(
            type='MMFullyShardedDataParallel',
            auto_wrap_policy=wrap_large_layers,
        )
        if get_device() == 'cpu':
            defaults['device_id'] = torch.device('cpu')
        super().__init__(
            model_wrapper={**defaults, **(model_wrapper or {})},
            state_dict_cfg=state_dict_cfg,
            **kwargs,
        )
        if get_device() == 'cpu':
            # PyTorch gathers one state after another in the same memory, and
            # copies them only where they are to stay or to leave a GPU.
            self.optim_state_dict_config.offload_to_cpu = False

    def build_optim_wrapper(
        self, optim_wrapper: Any, model: Optional[nn.Module] = None
    ) -> BaseOptimWrapper:
        """Builds the optimizer.

        Args:
            optim_wrapper (Any): As mmengine's.
            model (nn.Module, optional): The wrapped model.

        Returns:
            BaseOptimWrapper: The optimizer's wrapper.

        Raises:
            ValueError: If gradients are to be clipped, which mmengine does by
                the norm of each process's shard.
        """
        clips = isinstance(optim_wrapper, dict) and optim_wrapper.get(
            'clip_grad'
        )
        if clips:
            raise ValueError(
                'optim_wrapper.clip_grad: FSDPStrategy cannot clip gradients, '
                'since each process has but a part of them; DeepSpeedStrategy '
                'can (gradient_clipping)'
            )
        with FullyShardedDataParallel.summon_full_params(
            model, writeback=False
        ):
            return super().build_optim_wrapper(optim_wrapper, model)

    def load_model_state_dict(
        self, state_dict: dict, *, strict: bool = True, **kwargs
    ) -> None:
        """Loads weights, all of them.

        Args:
            state_dict (dict): The weights by name.
            strict (bool): Ignored. mmengine's default would leave out what
                does not fit, without a word.
            kwargs (dict): As mmengine's.
        """
        super().load_model_state_dict(state_dict, strict=True, **kwargs)

    def optim_state_dict(self) -> dict:
        """Returns the states of the optimizer.

        Returns:
            dict: Those of whole parameters by name, in the first process.
        """
        wrapper = self.optim_wrapper
        state_dict = FullyShardedDataParallel.optim_state_dict(
            self.model, wrapper.optimizer
        )
        return dict(
            state_dict, base_param_settings=wrapper.base_param_settings
        )

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Loads the states of the optimizer.

        mmengine's passes PyTorch the arguments in an order of old.

        Args:
            state_dict (dict): The states.
        """
        settings = state_dict.pop('base_param_settings', None)
        state_dict = FullyShardedDataParallel.optim_state_dict_to_load(
            self.model, self.optim_wrapper.optimizer, state_dict
        )
        if settings is not None:
            state_dict['base_param_settings'] = settings
        self.optim_wrapper.load_state_dict(state_dict)


@STRATEGIES.register_module()
class DeepSpeedStrategy(MMEngineDeepSpeedStrategy):
    """DeepSpeed's engine, of the versions that mmengine does not know, too.

    Args:
        kwargs (dict): As mmengine's.
    """

    def __init__(self, **kwargs) -> None:
        mmengine_deepspeed.register_deepspeed_optimizers = _register
        super().__init__(**kwargs)

    def prepare(
        self, *args, dispatch_kwargs: Optional[dict] = None, **kwargs
    ) -> tuple:
        """Builds what is trained.

        Args:
            args (tuple): As mmengine's.
            dispatch_kwargs (dict, optional): What the runner knows of the
                training; deepspeed asks for the size of batches.
            kwargs (dict): As mmengine's.

        Returns:
            tuple: As mmengine's.
        """
        key = 'train_micro_batch_size_per_gpu'
        self.config.setdefault(key, (dispatch_kwargs or {}).get(key, 1))
        return super().prepare(
            *args, dispatch_kwargs=dispatch_kwargs, **kwargs
        )

    def save_checkpoint(
        self,
        filename: str,
        *,
        extra_ckpt: Optional[dict] = None,
        callback: Optional[Callable] = None,
        **kwargs,
    ) -> None:
        """Saves a checkpoint, a folder, with what the hooks add to it.

        Args:
            filename (str): The folder.
            extra_ckpt (dict, optional): What to save beside the states.
            callback (Callable, optional): Called with it, for the hooks.
            kwargs (dict): As mmengine's.
        """
        if callback is not None:
            callback(extra_ckpt)
        super().save_checkpoint(filename, extra_ckpt=extra_ckpt, **kwargs)

    def resume(
        self, filename: str, *, callback: Optional[Callable] = None, **kwargs
    ) -> dict:
        """Resumes training, and gives the hooks what they have added.

        Args:
            filename (str): The folder.
            callback (Callable, optional): Called with what was saved beside
                the states, for the hooks.
            kwargs (dict): As mmengine's.

        Returns:
            dict: What was saved beside the states.
        """
        checkpoint = super().resume(filename, **kwargs)
        if callback is not None:
            callback(dict(checkpoint, optimizer=True))
        return checkpoint


def _register() -> None:
    """Registers deepspeed's optimizers, unless it has lost some of them."""
    with suppress(ImportError):
        _register_optimizers()
