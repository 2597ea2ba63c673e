# Copyright (c) mmactive contributors. All rights reserved.
"""Times the ways to deploy a classifier against each other.

A classifier with random weights maps pixels to probabilities in PyTorch, with
folded token mixers (``switch_to_deploy``), compiled, and as what
``tools/deployment`` writes: for ONNX Runtime, AOTInductor, and int8. They take
turns of one batch, and a ratio is the median of those of all turns. All
compute the same, which is checked but for int8. Needs OpenMMLab; without onnx
and onnxruntime, theirs are left out, and so they are on a GPU.

    python tools/benchmarks/benchmark_deployment.py --threads 1
    python tools/benchmarks/benchmark_deployment.py --config MY_CONFIG.py
"""

import argparse
import copy
import logging
import statistics
import tempfile
from pathlib import Path
from typing import Callable, Dict, List

import torch
from benchmark_utils import (
    describe_run,
    format_table,
    import_pyplot,
    make_parser,
    measure,
    read_results,
    require_kernel,
    save_figure,
    write_results,
)
from mmengine.config import Config
from torch import Tensor, nn

import mmactive  # noqa: F401
from mmactive.engine.deployment import (
    export_aoti,
    export_onnx,
    load_exported,
    make_exportable,
)
from mmactive.utils.complexity import build_model
from mmactive.utils.dependencies import is_installed

CONFIG = (
    Path(__file__)
    .parents[2]
    .joinpath('configs', 'imagenet', 'activemlp-xtiny_8xb128_in1k.py')
)
EAGER = 'eager'
VARIANTS = (
    *(EAGER, 'folded', 'compiled', 'ONNX Runtime', 'AOTInductor'),
    *('int8, static', 'int8, dynamic'),
)
# Largest difference from eager PyTorch, relative to the largest probability.
TOLERANCE = 1e-3

Run = Callable[[], Tensor]


def build(path: Path, device: str, fold: bool = False) -> nn.Module:
    """Builds a classifier of pixels (N, 3, H, W), with the same weights."""
    cfg = Config.fromfile(path)
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    torch.manual_seed(0)
    model = build_model(cfg, device)
    if fold:
        model.backbone.switch_to_deploy()
    return make_exportable(model, 'mmpretrain')


def in_pytorch(module: Callable[[Tensor], Tensor], images: Tensor) -> Run:
    """Returns a call of a module."""

    def run() -> Tensor:
        with torch.inference_mode():
            return module(images)

    return run


def exported(path: Path, images: Tensor) -> Run:
    """Returns a call of what has been exported."""
    model = load_exported(str(path), torch.get_num_threads())
    return lambda: model(images)['scores']


def make_variants(
    args: argparse.Namespace, images: Tensor, folder: Path
) -> Dict[str, Run]:
    """Makes what is to be timed; files are written into a folder."""
    module = build(args.config, args.device)
    names = [EAGER, *(name for name in args.variants if name != EAGER)]
    has_onnx = is_installed('onnx') and is_installed('onnxruntime')
    if not has_onnx or args.device != 'cpu':
        print('without ONNX Runtime: it is not installed, or this is a GPU')
        names = [n for n in names if 'int8' not in n and 'ONNX' not in n]
    # As the tool exports it: for any number of images of any size.
    example = torch.cat([images, images])
    metadata = dict(outputs=['scores'], device=args.device)
    onnx, package = folder / 'model.onnx', folder / 'model.pt2'
    if any('int8' in name or 'ONNX' in name for name in names):
        onnx.write_bytes(export_onnx(module, example, metadata))
    variants = {}
    for name in names:
        if name == EAGER:
            run = in_pytorch(module, images)
        elif name == 'folded':
            run = in_pytorch(build(args.config, args.device, True), images)
        elif name == 'compiled':
            run = in_pytorch(torch.compile(copy.deepcopy(module)), images)
        elif name == 'ONNX Runtime':
            run = exported(onnx, images)
        elif name == 'AOTInductor':
            export_aoti(module, example, metadata, str(package))
            run = exported(package, images)
        else:
            from mmactive.engine.deployment.quantization import quantize

            is_static = name == 'int8, static'
            batches = [images.numpy()] if is_static else None
            path = folder / f'{is_static}.onnx'
            path.write_bytes(quantize(str(onnx), batches))
            run = exported(path, images)
        variants[name] = run
    return variants


def check(variants: Dict[str, Run]) -> None:
    """Checks that all compute the same.

    Raises:
        AssertionError: If one does not. The error names it.
    """
    expected = variants[EAGER]().cpu()
    for name, run in variants.items():
        difference = (run().cpu() - expected).abs().max() / expected.max()
        assert difference < TOLERANCE or 'int8' in name, (
            f'{name} differs by {difference:.1e} from eager PyTorch'
        )


def time_variants(
    variants: Dict[str, Run], args: argparse.Namespace
) -> List[dict]:
    """Times all variants, turn by turn."""
    turns = [
        measure(
            {name: [run] for name, run in variants.items()},
            args.device,
            rounds=1,
        )
        for _ in range(args.rounds)
    ]
    results = []
    for name in variants:
        seconds = [turn[name].seconds for turn in turns]
        ratios = [turn[EAGER].seconds / turn[name].seconds for turn in turns]
        low, ratio, high = statistics.quantiles(ratios, n=4)
        results.append(
            dict(
                measure='inference',
                variant=name,
                config=args.config.stem,
                batch_size=args.batch_size,
                resolution=args.resolution,
                seconds=statistics.median(seconds),
                least_seconds=min(seconds),
                ratio=ratio,
                ratio_quartiles=[low, high],
            )
        )
    return results


def summarize(results: List[dict]) -> str:
    """Returns a table."""
    rows = []
    for result in results:
        milliseconds = [
            1e3 * result[key] / result['batch_size']
            for key in ('seconds', 'least_seconds')
        ]
        rows.append(
            [
                result['variant'],
                *(f'{value:.1f}' for value in milliseconds),
                f'{result["ratio"]:.2f}x',
                '{:.2f} to {:.2f}'.format(*result['ratio_quartiles']),
            ]
        )
    header = ['', 'ms/image', 'least', 'speed / eager', 'half of turns']
    return format_table(header, rows)


def plot(path: Path, results: List[dict]) -> None:
    """Draws how many times as fast as eager PyTorch each variant is."""
    plt = import_pyplot()
    if plt is None:
        return
    figure, axis = plt.subplots(figsize=(5.5, 3), layout='constrained')
    names = [result['variant'] for result in results]
    bars = axis.barh(names, [result['ratio'] for result in results])
    axis.bar_label(bars, fmt='%.2f', padding=2, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set(
        xlabel='images per second, relative to eager PyTorch',
        title='{config}\nbatch {batch_size}, {resolution}x{resolution}'.format(
            **results[0]
        ),
    )
    save_figure(figure, path)


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser('Times the ways to deploy a classifier.')
    parser.add_argument('--threads', type=int, help='of the CPU')
    parser.add_argument(
        '--config', type=Path, default=CONFIG, help='of a classifier'
    )
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=VARIANTS,
        default=list(VARIANTS),
        help='eager is always there, to compare with',
    )
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--resolution', type=int, default=224)
    # Turns are short, so that what else a machine does hits all of them.
    parser.add_argument('--rounds', type=int, default=30)
    args = parser.parse_args()
    if not args.config.is_file():
        parser.error(f'--config: there is no file {str(args.config)!r}')
    if args.rounds < 2:
        parser.error(f'--rounds: expected 2 or more, got {args.rounds}')
    return args


def main() -> None:
    """Measures all variants, prints a table, writes numbers and a plot."""
    args = parse_args()
    if args.plot:
        plot(args.plot.with_suffix('.png'), read_results(args.plot))
        return
    require_kernel(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.disable(logging.INFO)  # what mmengine and inductor say
    run = describe_run(args.device)
    shape = (args.batch_size, 3, args.resolution, args.resolution)
    images = torch.randint(256, shape, device=args.device).float()
    with tempfile.TemporaryDirectory() as folder:
        variants = make_variants(args, images, Path(folder))
        check(variants)
        results = time_variants(variants, args)
    print(f'\n{summarize(results)}')
    path = args.out / f'{args.name or f"deployment_{args.device}"}.json'
    write_results(path, run, results)
    print(f'\nwrote {path}')
    plot(path.with_suffix('.png'), results)


if __name__ == '__main__':
    main()
