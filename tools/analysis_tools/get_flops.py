# Copyright (c) mmactive contributors. All rights reserved.
"""Counts the multiply-adds and parameters of a model."""

import argparse

import mmactive  # noqa: F401
from mmactive.engine.options import load_config, make_parser
from mmactive.utils.complexity import build_model, count_complexity


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        default=[224],
        metavar=('H', 'W'),
        help='size of the image; one number for a square (default: 224)',
    )
    parser.add_argument(
        '--device',
        default='meta',
        help='where to run the model; the default computes nothing and fails '
        'for models whose shapes depend on values, as deformable DETR',
    )
    args = parser.parse_args()
    if len(args.shape) > 2 or min(args.shape) < 1:
        parser.error(
            f'--shape: expected one or two positive numbers, got {args.shape}'
        )
    return args


def main() -> None:
    """Runs the command."""
    args = parse_args()
    cfg = load_config(args)
    height, width = args.shape[0], args.shape[-1]
    backbone = cfg.model.get('backbone', {})
    in_channels = backbone.get('in_channels', 3)
    model = build_model(cfg, args.device)
    params, macs, *_ = count_complexity(model, (height, width), in_channels)
    print(f'Input shape: ({in_channels}, {height}, {width})')
    print(f'Flops: {macs / 1e9:.3f} G (multiply-adds: {macs:,})')
    print(f'Params: {params / 1e6:.3f} M ({params:,})')


if __name__ == '__main__':
    main()
