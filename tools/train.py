# Copyright (c) mmactive contributors. All rights reserved.
"""Trains a classifier, a detector or a segmentor."""

from argparse import Namespace

from mmengine.config import Config

from mmactive.engine import work_dir
from mmactive.engine.launch import build_runner, set_dataloader_defaults
from mmactive.engine.options import (
    check_checkpoint,
    check_dataloader,
    get_type_name,
    load_runner_config,
    make_runner_parser,
)


def parse_args() -> Namespace:
    """Parses the command line."""
    parser = make_runner_parser(__doc__)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, without one (or with "auto") from the '
        'newest whole one in the work dir, if there is one',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='start anew in a work dir that has checkpoints, and remove them',
    )
    parser.add_argument(
        '--amp', action='store_true', help='train in mixed precision'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the actual total batch size',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not validate'
    )
    parser.add_argument(
        '--no-pin-memory',
        dest='pin_memory',
        action='store_const',
        const=False,
        help='do not pin the memory of batches',
    )
    parser.add_argument(
        '--no-persistent-workers',
        dest='persistent_workers',
        action='store_const',
        const=False,
        help='start the loading processes anew in each epoch',
    )
    args = parser.parse_args()
    if args.overwrite and args.resume is not None:
        parser.error('--overwrite and --resume exclude each other')
    return args


def merge_args(cfg: Config, args: Namespace) -> None:
    """Merges the arguments of training into the config.

    Raises:
        ValueError: If an argument asks for what the config cannot do.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        wrapper = get_type_name(cfg.optim_wrapper, 'OptimWrapper')
        if wrapper not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise ValueError(
                '--amp: optim_wrapper.type must be OptimWrapper or '
                f'AmpOptimWrapper, but the config has {wrapper}'
            )
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ValueError(
                '--auto-scale-lr: auto_scale_lr.base_batch_size is required, '
                'but the config has none'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume == 'auto':
        # Without a checkpoint, `load_from` is still where training starts.
        if work_dir.has_checkpoints(cfg):
            cfg.resume = True
            cfg.load_from = None
    elif args.resume is not None:
        check_checkpoint('--resume', args.resume)
        cfg.resume = True
        cfg.load_from = args.resume
    set_dataloader_defaults(cfg, args.pin_memory, args.persistent_workers)


def main() -> None:
    """Runs the command."""
    args = parse_args()
    cfg = load_runner_config(args)
    check_dataloader(cfg, 'train_dataloader')
    merge_args(cfg, args)
    if cfg.get('load_from'):
        check_checkpoint('load_from', cfg.load_from)
    if cfg.get('val_dataloader'):
        check_dataloader(cfg, 'val_dataloader')
    work_dir.prepare(cfg, args.overwrite)
    try:
        build_runner(cfg).train()
    finally:
        work_dir.release(cfg.work_dir)


if __name__ == '__main__':
    main()
