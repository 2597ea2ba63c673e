# Copyright (c) mmactive contributors. All rights reserved.
"""The command line and the config that ``tools/train.py`` and others share.

The three libraries bring tools of their own, which differ in details. These
work with the configs of all three; ``default_scope`` tells the task.
"""

import itertools
import os
import os.path as osp
import warnings
from argparse import ArgumentParser, Namespace
from typing import Any, Iterator, List, Optional

from mmengine import fileio
from mmengine.config import Config, DictAction

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
        '--allow-partial',
        action='store_true',
        help='load what fits of a checkpoint; without it, a part that did not '
        'come is an error',
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
    if args.allow_partial:
        cfg.allow_partial = True
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
