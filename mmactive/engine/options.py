# Copyright (c) mmactive contributors. All rights reserved.
"""The command line and the config that ``tools/train.py`` and others share.

The three libraries bring tools of their own, which differ in details. These
work with the configs of all three; ``default_scope`` tells the task.
"""

import ast
import difflib
import inspect
import itertools
import os
import os.path as osp
import re
import warnings
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from inspect import isclass
from typing import Any, Iterable, Iterator, List, Optional, Sequence

from mmengine import fileio
from mmengine.config import Config, DictAction
from mmengine.runner import Runner as MMEngineRunner

from .variables import load_with

TASKS = dict(
    mmpretrain='classification',
    mmdet='detection',
    mmseg='segmentation',
)
SPLITS = ('train', 'val', 'test')

# What is read of a config: the runner's arguments, and what else mmengine, the
# libraries and the tools here look for
SETTINGS = {
    *inspect.signature(MMEngineRunner.__init__).parameters,
    *('activation_checkpointing', 'adapt_in_channels', 'allow_partial'),
    *('compile', 'custom_imports'),
    *('efficient_conv_bn_eval', 'find_unused_parameters'),
    *('model_wrapper_cfg', 'runner_type', 'sync_bn', 'strategy'),
    *('tta_model', 'tta_pipeline'),
} - {'self', 'cfg'}

# Variables that are paths, and the settings that are made from them
PATHS = dict(
    data_root='<train, val, test>_dataloader.dataset.data_root',
    pretrained='model.backbone.init_cfg.checkpoint',
)


class OptionAction(DictAction):
    """Parses KEY=VALUE as mmengine does, but keeps blanks in values."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: Optional[str] = None,
    ) -> None:
        """Adds options to the arguments, or ends with what is wrong."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in values:
            key, sign, value = text.partition('=')
            if not sign or not key:
                parser.error(
                    f'{option_string}: expected KEY=VALUE, but got {text!r}; '
                    'put a value that has blanks in quotes, as in '
                    "'data_root=/my data'"
                )
            try:
                options[key] = _parse_value(value)
            except (AssertionError, ValueError) as error:
                parser.error(f'{option_string}: {key}: {error}')
        setattr(namespace, self.dest, options)


def _parse_value(text: str) -> Any:
    """Parses a value as mmengine does, which drops all blanks.

    Raises:
        ValueError: If it is a list of words with blanks, without quotes.
    """
    text = text.strip()
    if not re.search(r'\s', text):
        return DictAction._parse_iterable(text)
    if text[0] in '[(':
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError):
            pass
    if not re.search(r'[^\s,[(]\s+[^\s,\])]', text):
        return DictAction._parse_iterable(text)
    if text[0] in '[(':
        raise ValueError(
            f'expected words that have blanks in quotes, but got {text}'
        )
    return text.strip('\'"')


def make_parser(description: str) -> ArgumentParser:
    """Makes a parser with the arguments of all tools that take a config."""
    parser = ArgumentParser(
        description=description, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='override settings of the config, as in '
        'train_dataloader.batch_size=64 or "max_epochs=3"; values with blanks '
        'in quotes',
    )
    return parser


def make_runner_parser(description: str) -> ArgumentParser:
    """Makes a parser with the arguments of tools that run a config."""
    parser = make_parser(description)
    parser.add_argument(
        '--work-dir',
        help='folder of logs, checkpoints and metrics; default: that of the '
        'config, or work_dirs/<name of the config file>',
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
        Config: The config with ``default_scope`` set.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: If ``default_scope`` is not that of one of the libraries.
    """
    if not osp.isfile(args.config):
        raise FileNotFoundError(f'config: there is no file {args.config!r}')
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
    cfg.default_scope = find_scope(cfg)
    if cfg.default_scope not in TASKS:
        raise ValueError(
            f'{args.config}: default_scope must be one of {list(TASKS)}, but '
            f'got {cfg.default_scope!r}; inherit the default_runtime.py of a '
            'library'
        )
    return cfg


def load_runner_config(args: Namespace) -> Config:
    """Loads a config as the arguments of :func:`make_runner_parser` want it.

    Args:
        args (Namespace): Parsed arguments.

    Returns:
        Config: That of :func:`load_config` with ``launcher`` and ``work_dir``
        set.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args)
    cfg.launcher = args.launcher
    if args.allow_partial:
        cfg.allow_partial = True
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('work_dirs', name)
    return cfg


def get_type_name(cfg: dict, default: str = '') -> str:
    """Returns the name of a config's type, without a scope or module.

    Args:
        cfg (dict): A config whose type is a class or the name of one, as in
            'OptimWrapper' and 'mmengine.OptimWrapper'.
        default (str): What to return without a type.
    """
    kind = cfg.get('type', default)
    return kind.split('.')[-1] if isinstance(kind, str) else kind.__name__


def find_scope(cfg: Config) -> Optional[str]:
    """Returns the library of a config, which tells its task.

    Args:
        cfg (Config): One whose types are classes needs no ``default_scope``.

    Returns:
        str | None: Key of :data:`TASKS`, as a rule.
    """
    scope = cfg.get('default_scope')
    if scope not in (None, 'mmengine'):
        return scope
    kind = (cfg.get('model') or {}).get('type')
    names = [kind or '']
    if isclass(kind):
        names = [cls.__module__ for cls in kind.__mro__]
    libraries = [name.partition('.')[0] for name in names]
    return next((name for name in libraries if name in TASKS), scope)


def merge_options(cfg: Config, options: dict) -> None:
    """Merges options of the command line into a config.

    A setting, such as ``train_dataloader.batch_size``, is set in the config. A
    variable of the config files, such as ``max_epochs``, has done its work
    when they are loaded: they are loaded again with its new value.

    Args:
        cfg (Config): The config as it was loaded, changed in place.
        options (dict): Values by dotted keys, as ``DictAction`` parses them.

    Raises:
        TypeError: If ``data_root`` or ``pretrained`` is not a path.
        ValueError: If an option would change nothing that counts: if the
            config files have no such variable, or make nothing of it. The
            error names it.
    """
    variables = {
        key: value
        for key, value in options.items()
        if _is_variable(cfg, key.partition('.')[0])
    }
    for name in PATHS.keys() & options.keys():
        if not cfg.get(name):
            raise ValueError(
                f'{name}: the config makes nothing of such a variable; set '
                f'{PATHS[name]} instead'
            )
        if not isinstance(options[name], str):
            raise TypeError(
                f'{name}: expected a path, but got {options[name]!r}'
            )
    for name in dict.fromkeys(key.partition('.')[0] for key in variables):
        own = {
            key: value
            for key, value in variables.items()
            if key.partition('.')[0] == name
        }
        loaded = _load_with(cfg, name, own)
    if variables:
        if own != variables:
            loaded = load_with(cfg.filename, variables)
        for name in PATHS.keys() & variables.keys():
            _check_path(loaded, name, options[name])
        object.__setattr__(cfg, '_cfg_dict', loaded._cfg_dict)
    settings = {
        key: value for key, value in options.items() if key not in variables
    }
    cfg.merge_from_dict(settings)


def _is_variable(cfg: Config, name: str) -> bool:
    """Tells a variable of config files from what is read of a config."""
    if name == 'data_preprocessor':
        # mmpretrain's runs read it, the others' models have taken it over.
        return 'data_preprocessor' in (cfg.get('model') or {})
    return name not in SETTINGS


def _load_with(cfg: Config, name: str, options: dict) -> Config:
    """Loads a config with another value of a variable.

    Raises:
        ValueError: If it changes no setting.
    """
    key = next(iter(options))
    places = [
        place
        for setting in sorted(SETTINGS & set(cfg.keys()))
        for place in _find_key(cfg[setting], name, setting)
    ]
    known = difflib.get_close_matches(name, [*cfg.keys(), *SETTINGS], 1)
    hint = ''
    if places:
        hint = f'; set {" or ".join(places[:3])} instead'
    elif known and name not in cfg:
        hint = f'; is it {known[0]!r}?'
    if name not in cfg or cfg.filename is None:
        raise ValueError(
            f'{key}: the config has no such variable, and nothing reads a '
            f'setting of this name{hint}'
        )
    loaded = load_with(cfg.filename, options)
    if loaded[name] != cfg[name] and not any(
        loaded.get(setting) != cfg.get(setting) for setting in SETTINGS
    ):
        raise ValueError(
            f'{key}: the config makes nothing of this variable that counts'
            f'{hint}'
        )
    return loaded


def _find_key(value: Any, key: str, path: str) -> Iterator[str]:
    """Yields the dotted places of a key in a nested value."""
    items: Iterable = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    for name, item in items:
        if name == key:
            yield f'{path}.{name}'
        yield from _find_key(item, key, f'{path}.{name}')


def _check_path(cfg: Config, name: str, path: str) -> None:
    """Checks that all that is meant to lie at a path does.

    Raises:
        ValueError: If a config has set it by itself.
    """
    for value in _list_settings(cfg, name):
        if not f'{value}/'.startswith(f'{path.rstrip("/")}/'):
            raise ValueError(
                f'{name}: the config has a {PATHS[name]} of its own, '
                f'{value!r}; set that instead'
            )


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
