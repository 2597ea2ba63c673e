# Copyright (c) mmactive contributors. All rights reserved.
"""Measures what mixed precision costs in accuracy.

Compares the four outputs of ActiveMLP-Tiny under autocast with those in
float32: the L2 norm of the difference over that of the outputs. Autocast as it
is keeps offsets in float32; for comparison they are rounded as well. Weights
are random, and the offset layers are scaled so that the offsets have a given
standard deviation in tokens.

    python tools/benchmarks/amp_error.py --resolutions 224x224 800x1280
"""

import argparse
from pathlib import Path
from typing import List

import torch
import torch.nn.functional as F
from benchmark_utils import (
    describe_run,
    format_table,
    import_pyplot,
    make_parser,
    read_results,
    require_kernel,
    save_figure,
    write_results,
)
from torch import Tensor, nn

from mmactive.models import ActiveMLP

STAGES = (1, 2, 3, 4)


def build_model(device: str) -> ActiveMLP:
    """Builds ActiveMLP-Tiny with random weights."""
    torch.manual_seed(0)
    model = ActiveMLP('tiny', out_indices=(0, 1, 2, 3)).eval().to(device)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            # What leaves the variance as it is. Initial weights are smaller,
            # and the blocks next to no part of the outputs.
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    return model


def make_image(height: int, width: int, device: str) -> Tensor:
    """Makes a smooth random image: neighbouring tokens differ little."""
    generator = torch.Generator().manual_seed(0)
    octaves = (
        F.interpolate(
            torch.randn(
                1, 3, height // step, width // step, generator=generator
            ),
            (height, width),
            mode='bicubic',
        )
        for step in (8, 32, 128)
    )
    return sum(octaves).to(device)


def scale_offsets(model: ActiveMLP, std: float) -> None:
    """Makes the offsets' standard deviation ``std`` tokens."""
    for module in model.modules():
        layer = getattr(module, 'offset_layer', None)
        if layer is not None:
            linear = layer[1]
            # The outputs of the norm before it have unit variance.
            nn.init.normal_(linear.weight, std=std * linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)


def measure_errors(
    model: ActiveMLP, image: Tensor, dtype: torch.dtype, offsets_too: bool
) -> List[float]:
    """Returns the relative error of each output."""

    def round_offset(module, args, offset):
        return offset.to(dtype).to(offset.dtype)

    device = image.device.type
    hooks = []
    with torch.no_grad():
        expected = model(image)
        if offsets_too:
            hooks = [
                module.offset_layer.register_forward_hook(round_offset)
                for module in model.modules()
                if getattr(module, 'offset_layer', None) is not None
            ]
        with torch.autocast(device, dtype):
            outputs = model(image)
    for hook in hooks:
        hook.remove()
    return [
        ((output.double() - e.double()).norm() / e.double().norm()).item()
        for output, e in zip(outputs, expected)
    ]


def plot(path: Path, results: List[dict]) -> None:
    """Draws the errors over the size of the offsets."""
    plt = import_pyplot()
    if plt is None:
        return

    panels = list(
        dict.fromkeys((r['resolution'], r['dtype']) for r in results)
    )
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(4.2 * len(panels), 3.6),
        squeeze=False,
        sharey=True,
        layout='constrained',
    )
    for axis, (resolution, dtype) in zip(axes[0], panels):
        for offsets, style in (('float32', '-'), (dtype, '--')):
            lines = [
                r
                for r in results
                if (r['resolution'], r['dtype'], r['offsets'])
                == (resolution, dtype, offsets)
            ]
            for stage in STAGES:
                axis.plot(
                    [r['offset_std'] for r in lines],
                    [r['errors'][stage - 1] for r in lines],
                    style,
                    color=f'C{stage - 1}',
                    marker='o',
                    markersize=3,
                    label=f'stage {stage}, offsets {offsets}',
                )
        axis.set(
            xscale='log',
            yscale='log',
            xlabel='standard deviation of the offsets (tokens)',
            title=f'{resolution}, autocast {dtype}',
        )
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel('relative error')
    axes[0, -1].legend(fontsize=6)
    save_figure(figure, path)


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser('Measures what mixed precision costs in accuracy.')
    parser.add_argument(
        '--resolutions',
        nargs='+',
        default=['224x224', '800x1280'],
        metavar='HxW',
    )
    parser.add_argument(
        '--dtypes',
        nargs='+',
        choices=['bfloat16', 'float16'],
        default=['bfloat16'],
    )
    parser.add_argument(
        '--offset-std',
        nargs='+',
        type=float,
        default=[1.0, 8.0, 64.0],
        metavar='TOKENS',
    )
    return parser.parse_args()


def main() -> None:
    """Measures all cases, prints a table, writes numbers and a plot."""
    args = parse_args()
    if args.plot:
        plot(args.plot.with_suffix('.png'), read_results(args.plot))
        return
    require_kernel(args.device)
    run = describe_run(args.device)
    model = build_model(args.device)
    results = []
    for resolution in args.resolutions:
        image = make_image(*map(int, resolution.split('x')), args.device)
        for dtype in args.dtypes:
            for std in args.offset_std:
                scale_offsets(model, std)
                for offsets in ('float32', dtype):
                    errors = measure_errors(
                        model,
                        image,
                        getattr(torch, dtype),
                        offsets_too=offsets != 'float32',
                    )
                    results.append(
                        dict(
                            resolution=resolution,
                            dtype=dtype,
                            offset_std=std,
                            offsets=offsets,
                            errors=errors,
                        )
                    )
    header = ['image', 'autocast', 'offset std', 'offsets']
    header += [f'stage {stage}' for stage in STAGES]
    rows = [
        [
            r['resolution'],
            r['dtype'],
            f'{r["offset_std"]:g}',
            r['offsets'],
            *(f'{error:.2%}' for error in r['errors']),
        ]
        for r in results
    ]
    print(f'\n{format_table(header, rows)}')
    path = args.out / f'{args.name or f"amp_{args.device}"}.json'
    write_results(path, run, results)
    plot(path.with_suffix('.png'), results)


if __name__ == '__main__':
    main()
