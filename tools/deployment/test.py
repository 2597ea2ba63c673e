# Copyright (c) mmactive contributors. All rights reserved.
"""Tests an exported model by the test data and the evaluator of its config.

python tools/deployment/test.py CONFIG model.onnx
"""

import argparse
import statistics
import sys

import mmactive  # noqa: F401
from mmactive.engine.deployment import make_exported_cfg
from mmactive.engine.launch import build_runner, set_dataloader_defaults
from mmactive.engine.options import (
    TASKS,
    check_dataloader,
    load_runner_config,
    make_runner_parser,
)


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = make_runner_parser(__doc__)
    parser.add_argument('model', help='.onnx or .pt2 file of tools/deployment')
    parser.add_argument(
        '--num-threads',
        type=int,
        default=0,
        help='threads of ONNX Runtime; default: one for each core',
    )
    return parser.parse_args()


def main() -> None:
    """Runs the command."""
    args = parse_args()
    cfg = load_runner_config(args)
    check_dataloader(cfg, 'test_dataloader')
    set_dataloader_defaults(cfg)
    # What concerns training
    cfg.custom_hooks = []
    cfg.train_dataloader = cfg.optim_wrapper = cfg.train_cfg = None
    cfg.param_scheduler = None
    cfg.model = make_exported_cfg(cfg, args.model, args.num_threads)
    runner = build_runner(cfg)
    model = runner.model
    task, expected = model.exported.metadata['task'], TASKS[cfg.default_scope]
    if task != expected:
        raise ValueError(
            f'{args.model}: expected a model for {expected}, as the config '
            f'is, but it is one for {task}'
        )
    runner.test()
    median = statistics.median(model.seconds)
    print(f'{args.model}: {1e3 * median:.1f} ms an image (median)')


if __name__ == '__main__':
    try:
        main()
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
