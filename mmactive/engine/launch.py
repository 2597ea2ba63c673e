# Copyright (c) mmactive contributors. All rights reserved.
"""Builds the runner of a config, with a GPU or without."""

import atexit
import gc
import warnings
from datetime import timedelta
from typing import Any, Optional

import torch

# Imported after a group has been made, its default arguments would hold it.
import torch.distributed.nn
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from torch import distributed

from .flexible_runner import FlexibleRunner
from .options import SPLITS, get_type_name
from .runner import Runner

# Seconds after which processes that load no batch are taken to hang
LOADING_TIMEOUT = 600


def set_dataloader_defaults(
    cfg: Config,
    pin_memory: Optional[bool] = None,
    persistent_workers: Optional[bool] = None,
) -> None:
    """Fills in what the dataloaders of a config leave to the tools.

    mmpretrain's configs count on their tools to choose ``collate_fn`` and, as
    far as the config does not, the other two. Loading processes that hang end
    a run after ten minutes (``timeout``).

    Args:
        cfg (Config): The config, changed in place.
        pin_memory (bool, optional): Overrides the configs' values.
        persistent_workers (bool, optional): Overrides the configs' values.
    """
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        if cfg.default_scope == 'mmpretrain':
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('pin_memory', torch.cuda.is_available())
            loader.setdefault('persistent_workers', True)
        if pin_memory is not None:
            loader.pin_memory = pin_memory
        if persistent_workers is not None:
            loader.persistent_workers = persistent_workers
        if loader.get('num_workers', 0) == 0:
            # PyTorch refuses to keep workers where there are none.
            loader.persistent_workers = False
        else:
            loader.setdefault('timeout', LOADING_TIMEOUT)


def build_runner(cfg: Config) -> Runner:
    """Builds the runner, on a machine without an accelerator as well.

    Args:
        cfg (Config): The config, changed in place where there is only a CPU.

    Returns:
        Runner: That of ``cfg.runner_type``, or else
        :class:`mmactive.engine.FlexibleRunner` if there is a ``strategy`` and
        :class:`mmactive.engine.Runner` if not.
    """
    if get_device() == 'cpu':
        _adapt_to_cpu(cfg)
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    if cfg.get('strategy'):
        return FlexibleRunner.from_cfg(cfg)
    return Runner.from_cfg(cfg)


def _adapt_to_cpu(cfg: Config) -> None:
    """Replaces what mmengine takes for granted to be a GPU's."""
    optim_wrapper = cfg.get('optim_wrapper') or {}
    if get_type_name(optim_wrapper) == 'AmpOptimWrapper':
        warnings.warn(
            'There is no accelerator: mixed precision means the backbone in '
            'bfloat16 on the CPU, without loss scaling.',
            stacklevel=2,
        )
        optim_wrapper['type'] = 'mmactive.CPUAmpOptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            optim_wrapper.pop(key, None)

    if cfg.launcher == 'none':
        return
    if cfg.launcher != 'pytorch':
        raise RuntimeError(
            f'launcher: {cfg.launcher!r} needs a GPU for each process, but '
            "there is none; on CPUs use 'pytorch'"
        )
    # mmengine would select a CUDA device, start nccl and put the model there.
    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    timeout = dist_cfg.get('timeout')
    if not distributed.is_initialized():
        distributed.init_process_group(
            'gloo', timeout=timeout and timedelta(seconds=timeout)
        )
        atexit.register(_destroy_process_group)
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
    strategy = cfg.get('strategy') or {}
    if get_type_name(strategy) == 'DDPStrategy':
        strategy['model_wrapper'] = cfg.model_wrapper_cfg
    _revert_sync_batchnorm(cfg.model)


def _destroy_process_group() -> None:
    """Ends the threads of gloo.

    One that still frees a tensor while Python shuts down aborts the process.
    They end with the last reference to the group, and the model has one.
    """
    gc.collect()
    distributed.destroy_process_group()


def _revert_sync_batchnorm(cfg: Any) -> None:
    """Puts BN in the place of SyncBN, which needs GPUs."""
    if isinstance(cfg, (list, tuple)):
        for value in cfg:
            _revert_sync_batchnorm(value)
    elif isinstance(cfg, dict):
        if get_type_name(cfg) in ('SyncBN', 'SyncBatchNorm'):
            warnings.warn(
                'There is no accelerator: BN takes the place of SyncBN, with '
                'the statistics of each process.',
                stacklevel=2,
            )
            cfg['type'] = 'BN'
        for value in cfg.values():
            _revert_sync_batchnorm(value)
