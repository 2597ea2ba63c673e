# Copyright (c) mmactive contributors. All rights reserved.
"""What ``tools/train.py`` and ``tools/test.py`` have in common.

The three libraries bring tools of their own, which differ in details. These
work with the configs of all three; ``default_scope`` tells the task.
"""

import atexit
import gc
import itertools
import os
import os.path as osp
import warnings
from argparse import ArgumentParser, Namespace
from datetime import timedelta
from typing import Any, Iterator, List, Optional

import torch

# Imported after a group has been made, its default arguments would hold it.
import torch.distributed.nn
from mmengine import fileio
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from torch import distributed

from mmactive.engine import Runner

TASKS = dict(
    mmpretrain='classification',
    mmdet='detection',
    mmseg='segmentation',
)
SPLITS = ('train', 'val', 'test')


def make_parser(description: str) -> ArgumentParser:
    """Makes a parser with the arguments that all tools share."""
    parser = ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        help='folder of logs, checkpoints and metrics; default: that of the '
        'config, or work_dirs/<name of the config file>',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, as in '
        'train_dataloader.batch_size=64 or key="[a,b]"; no blanks',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what has started the processes of a distributed run',
    )
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help='set by some launchers; LOCAL_RANK goes before it',
    )
    return parser


def load_config(args: Namespace) -> Config:
    """Loads a config and merges the arguments of :func:`make_parser` into it.

    Args:
        args (Namespace): Parsed arguments.

    Returns:
        Config: The config with ``launcher`` and ``work_dir`` set.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: If ``default_scope`` is not that of one of the libraries.
    """
    if not osp.isfile(args.config):
        raise FileNotFoundError(f'config: there is no file {args.config!r}')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    checkpoint = get_pretrained(cfg)
    if checkpoint and cfg.get('pretrained', checkpoint) != checkpoint:
        warnings.warn(
            f'{args.config}: pretrained is {cfg.pretrained!r}, but '
            'model.backbone.init_cfg.checkpoint, which counts, is '
            f'{checkpoint!r}: a config that inherits them has to set both.',
            stacklevel=2,
        )
    if args.cfg_options is not None:
        merge_options(cfg, args.cfg_options)
    scope = cfg.get('default_scope')
    if scope not in TASKS:
        raise ValueError(
            f'{args.config}: default_scope must be one of {list(TASKS)}, but '
            f'got {scope!r}; inherit the default_runtime.py of a library'
        )
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('work_dirs', name)
    return cfg


def merge_options(cfg: Config, options: dict) -> None:
    """Merges options of the command line into a config.

    The configs' variables ``data_root`` and ``pretrained`` have done their
    work when a config is loaded: setting one afterwards would change nothing.
    Here it also changes the paths that were made from it.

    Args:
        cfg (Config): The config, changed in place.
        options (dict): Values by dotted keys, as ``DictAction`` parses them.

    Raises:
        TypeError: If ``data_root`` or ``pretrained`` is not a path.
        ValueError: If the config has no such variable, or a setting that was
            not made from it.
    """
    settings = dict(
        data_root='<train, val, test>_dataloader.dataset.data_root',
        pretrained='model.backbone.init_cfg.checkpoint',
    )
    for name, setting in settings.items():
        if name not in options:
            continue
        if not cfg.get(name):
            raise ValueError(
                f'{name}: the config makes nothing of such a variable; set '
                f'{setting} instead'
            )
        if not isinstance(options[name], str):
            raise TypeError(
                f'{name}: expected a path, but got {options[name]!r}'
            )
        old, new = cfg[name].rstrip('/'), options[name].rstrip('/')
        for key, value in cfg.items():
            cfg[key] = _replace_path(value, old, new)
        for value in _list_settings(cfg, name):
            if not f'{value}/'.startswith(f'{new}/'):
                raise ValueError(
                    f'{name}: the config has a {setting} of its own, '
                    f'{value!r}; set that instead'
                )
    cfg.merge_from_dict(options)


def _list_settings(cfg: Config, name: str) -> List[str]:
    """Lists what a config makes of its variable of that name."""
    if name == 'pretrained':
        return [get_pretrained(cfg)]
    loaders = [cfg.get(f'{split}_dataloader') or {} for split in SPLITS]
    datasets = [loader.get('dataset') or {} for loader in loaders]
    leaves = itertools.chain(*map(iter_datasets, datasets))
    return [leaf['data_root'] for leaf in leaves if leaf.get('data_root')]


def get_pretrained(cfg: Config) -> Optional[str]:
    """Returns the checkpoint that the backbone starts from, or None."""
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    init_cfg = backbone.get('init_cfg')
    return init_cfg.get('checkpoint') if isinstance(init_cfg, dict) else None


def _replace_path(value: Any, old: str, new: str) -> Any:
    """Replaces a path, and it as a folder of others, in a nested value."""
    if isinstance(value, dict):
        for key in value:
            value[key] = _replace_path(value[key], old, new)
    elif isinstance(value, (list, tuple)):
        return type(value)(_replace_path(item, old, new) for item in value)
    elif isinstance(value, str) and f'{value}/'.startswith(f'{old}/'):
        return new + value[len(old) :]
    return value


def check_checkpoint(argument: str, path: str) -> None:
    """Checks that a local checkpoint is there.

    Args:
        argument (str): Name of the argument or setting, for the message.
        path (str): A file. URLs and other places with a scheme are left to
            mmengine.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if '://' not in path and not osp.isfile(osp.expanduser(path)):
        raise FileNotFoundError(f'{argument}: there is no file {path!r}')


def check_dataloader(cfg: Config, name: str) -> None:
    """Checks that a dataloader is configured and its data is there.

    Args:
        cfg (Config): The config.
        name (str): As in 'train_dataloader'.

    Raises:
        ValueError: If the config has no such dataloader, or none with a
            dataset.
        FileNotFoundError: If a ``data_root`` does not exist.
    """
    dataset = (cfg.get(name) or {}).get('dataset')
    if dataset is None:
        raise ValueError(
            f'{cfg.filename}: {name}.dataset is required, but the config has '
            'none'
        )
    for leaf in iter_datasets(dataset):
        root = leaf.get('data_root')
        if root and not fileio.exists(root, leaf.get('backend_args')):
            raise FileNotFoundError(
                f'{name}.dataset.data_root: there is no folder {root!r}'
            )


def iter_datasets(dataset: dict) -> Iterator[dict]:
    """Yields the datasets that load images, without the wrappers of them."""
    if 'dataset' in dataset:
        yield from iter_datasets(dataset['dataset'])
    elif 'datasets' in dataset:
        for child in dataset['datasets']:
            yield from iter_datasets(child)
    else:
        yield dataset


def set_dataloader_defaults(
    cfg: Config,
    pin_memory: Optional[bool] = None,
    persistent_workers: Optional[bool] = None,
) -> None:
    """Fills in what the dataloaders of a config leave to the tools.

    mmpretrain's configs count on their tools to choose ``collate_fn`` and, as
    far as the config does not, the other two.

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


def build_runner(cfg: Config) -> Runner:
    """Builds the runner, on a machine without an accelerator as well.

    Args:
        cfg (Config): The config, changed in place where there is only a CPU.

    Returns:
        Runner: :class:`mmactive.engine.Runner` or that of ``cfg.runner_type``.
    """
    if get_device() == 'cpu':
        _adapt_to_cpu(cfg)
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def _adapt_to_cpu(cfg: Config) -> None:
    """Replaces what mmengine takes for granted to be a GPU's."""
    optim_wrapper = cfg.get('optim_wrapper') or {}
    if optim_wrapper.get('type') == 'AmpOptimWrapper':
        warnings.warn(
            'There is no accelerator: mixed precision means the backbone in '
            'bfloat16 on the CPU, without loss scaling.',
            stacklevel=2,
        )
        optim_wrapper.type = 'mmactive.CPUAmpOptimWrapper'
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
        if cfg.get('type') == 'SyncBN':
            warnings.warn(
                'There is no accelerator: BN takes the place of SyncBN, with '
                'the statistics of each process.',
                stacklevel=2,
            )
            cfg['type'] = 'BN'
        for value in cfg.values():
            _revert_sync_batchnorm(value)
