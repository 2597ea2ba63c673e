# Copyright (c) mmactive contributors. All rights reserved.
"""Times ActiveMLP-Tiny against other networks of its size.

Measures images per second and peak memory in inference and in training steps
(forward, backward, AdamW), and on request (``--scaling``) how the time for one
image grows with its size. The networks are classifiers with random weights
and take turns. ``reference`` is ActiveMLP-Tiny in the formulation of the
released models, on torchvision's deformable convolution; CycleMLP-B2 and
AS-MLP-T are compared with their published formulations, too. Needs PyTorch;
models of libraries that are not installed are left out.

    python tools/benchmarks/benchmark_models.py --modes inference
    python tools/benchmarks/benchmark_models.py --configs A.py B.py
    python tools/benchmarks/benchmark_models.py --scaling 224 448 896
    python tools/benchmarks/benchmark_models.py --device cuda --out results
"""

import argparse
import importlib.util
import itertools
import logging
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Callable, Dict, Iterator, List

import openmmlab_stand_in
import torch
import torch.nn.functional as F
from benchmark_utils import (
    describe_run,
    format_table,
    import_pyplot,
    leave_out,
    make_parser,
    measure,
    peak_memory,
    read_results,
    require_kernel,
    save_figure,
    write_results,
)
from torch import Tensor, nn

from mmactive.utils.dependencies import is_installed

OURS = 'ActiveMLP-T'
DTYPES = ('float32', 'bfloat16', 'float16')


class Classifier(nn.Module):
    """A backbone, global average pooling and a linear layer."""

    def __init__(self, backbone: nn.Module, channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(channels, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images to logits."""
        return self.head(self.backbone(x)[-1].mean(dim=(2, 3)))


def activemlp(deploy: bool = False) -> nn.Module:
    """Ours."""
    from mmactive.models import ActiveMLP

    backbone = ActiveMLP('tiny')
    backbone.init_weights()
    if deploy:
        backbone.switch_to_deploy()
    return Classifier(backbone, 512)


def shift_mlp(name: str, arch: str, channels: int) -> nn.Module:
    """Another backbone of ours."""
    from mmactive import models

    return Classifier(getattr(models, name)(arch), channels)


def load_reference(name: str) -> ModuleType:
    """Imports one of the published formulations, a file of the tests."""
    path = Path(__file__).parents[2] / 'tests' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reference() -> nn.Module:
    """ActiveMLP-Tiny as the released weights have it."""
    return load_reference('reference_activemlp').ReferenceActiveMLP('tiny')


def published_cyclemlp() -> nn.Module:
    """CycleMLP-B2 on ``deform_conv2d``."""
    module = load_reference('reference_shift_mlps')
    return module.ReferenceCycleMLP(**module.CYCLEMLP_B2)


def published_asmlp() -> nn.Module:
    """AS-MLP-T that pads, cuts and rolls."""
    module = load_reference('reference_shift_mlps')
    return module.ReferenceASMLP(**module.ASMLP_T)


def from_torchvision(name: str) -> nn.Module:
    """One of torchvision's classifiers."""
    import torchvision

    return getattr(torchvision.models, name)()


def swin_of_mmpretrain() -> nn.Module:
    """Builds mmpretrain's Swin-T."""
    from mmpretrain.models import SwinTransformer

    return Classifier(SwinTransformer('tiny'), 768)


def pvt_of_mmdet() -> nn.Module:
    """Builds mmdet's PVTv2-B2."""
    from mmdet.models.backbones import PyramidVisionTransformerV2

    backbone = PyramidVisionTransformerV2(
        embed_dims=64, num_layers=[3, 4, 6, 3]
    )
    return Classifier(backbone, 512)


def from_timm(name: str) -> nn.Module:
    """One of timm's classifiers."""
    import timm

    return timm.create_model(name)


class Features(nn.Module):
    """The backbone of a detector or segmentor, with means for outputs."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        """Maps images to the means (N, sum of C_i) of all maps."""
        maps = self.backbone(x)
        return torch.cat([x.mean(dim=(2, 3)) for x in maps], dim=1)


def from_config(path: Path) -> nn.Module:
    """The classifier of a config; of other configs the backbone."""
    from mmengine.config import Config

    import mmactive  # noqa: F401
    from mmactive.utils.complexity import build_model

    cfg = Config.fromfile(path)
    model = build_model(cfg, 'cpu')
    if cfg.default_scope == 'mmpretrain':
        return model
    return Features(model.backbone)


MODELS: Dict[str, Callable[[], nn.Module]] = {
    OURS: activemlp,
    f'{OURS} (deploy)': partial(activemlp, deploy=True),
    'reference': reference,
    'CycleMLP-B2': partial(shift_mlp, 'CycleMLP', 'b2', 512),
    'CycleMLP-B2 (published)': published_cyclemlp,
    'AS-MLP-T': partial(shift_mlp, 'ASMLP', 'tiny', 768),
    'AS-MLP-T (published)': published_asmlp,
    'Swin-T (torchvision)': partial(from_torchvision, 'swin_t'),
    'Swin-T (mmpretrain)': swin_of_mmpretrain,
    'Swin-T (timm)': partial(from_timm, 'swin_tiny_patch4_window7_224'),
    'ConvNeXt-T (torchvision)': partial(from_torchvision, 'convnext_tiny'),
    'ResNet-50 (torchvision)': partial(from_torchvision, 'resnet50'),
    'PVTv2-B2 (mmdet)': pvt_of_mmdet,
    'PVTv2-B2 (timm)': partial(from_timm, 'pvt_v2_b2'),
}
# What they are compared with, beside the reference.
PUBLISHED = {
    name: f'{name} (published)' for name in ('CycleMLP-B2', 'AS-MLP-T')
}
# Those that are compared over the resolution; timm's Swin has a fixed one.
SCALING_MODELS = [OURS, 'reference', 'Swin-T (torchvision)']


def build_models(names: List[str], args: argparse.Namespace) -> dict:
    """Builds what can be imported, and compiled versions of it."""
    models = {}
    known = {**MODELS, **list_configs(args.configs)}
    for name in names:
        torch.manual_seed(0)
        try:
            model = known[name]()
        except ImportError as error:
            print(f'without {name}: {error}')
            continue
        models[name] = model.to(args.device)
    if args.compile:
        for name, model in list(models.items()):
            if name != 'reference' and 'published' not in name:
                models[f'{name} (compiled)'] = torch.compile(model)
    return models


def list_configs(paths: List[Path]) -> Dict[str, Callable[[], nn.Module]]:
    """Returns how to build the models of configs, by the configs' names."""
    return {path.stem: partial(from_config, path) for path in paths}


def autocast(args: argparse.Namespace) -> torch.autocast:
    """Returns the context that the forward passes run in."""
    dtype = getattr(torch, args.dtype)
    # Autocast warns of float32, even if it is not enabled.
    enabled = dtype != torch.float32
    return torch.autocast(
        args.device, dtype if enabled else torch.bfloat16, enabled=enabled
    )


def inference_step(model, images, args) -> Callable[[], None]:
    """Returns one pass over a batch of images."""
    model.eval()

    def step():
        with torch.inference_mode(), autocast(args):
            model(images)

    return step


def training_step(model, images, args) -> Callable[[], None]:
    """Returns one step of training on a batch of images."""
    target = torch.arange(len(images), device=images.device) % 1000
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    model.train()

    def step():
        with autocast(args):
            loss = F.cross_entropy(model(images), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


STEPS = dict(inference=inference_step, training=training_step)


def time_steps(
    steps: Dict[str, Callable[[], None]], args: argparse.Namespace
) -> Dict[str, float]:
    """Returns the seconds that each step takes."""
    measured = measure(
        {name: [step] for name, step in steps.items()},
        args.device,
        args.rounds,
        # On a GPU one step is too short, and its end waits for its launches.
        min_seconds=1.0 if args.device == 'cuda' else 0.0,
    )
    return {name: result.seconds for name, result in measured.items()}


def run_mode(mode: str, args: argparse.Namespace) -> List[dict]:
    """Measures all models in inference or in training."""
    names = [n for n in args.models if mode == 'inference' or 'depl' not in n]
    names = list(list_configs(args.configs)) or names
    models = build_models(names, args)
    batch = args.batch_size or (8 if args.device == 'cpu' else 128)
    images = torch.randn(batch, 3, args.resolution, args.resolution)
    images = images.to(args.device)
    steps, memory = {}, {}
    for name, model in models.items():
        step = STEPS[mode](model, images, args)
        try:
            step()  # what stays, as the optimizer's state, does not count
            memory[name] = peak_memory(step, args.device)
        except RuntimeError as error:
            leave_out(name, error, OURS)
            continue
        steps[name] = step
    seconds = time_steps(steps, args)
    return [
        dict(
            measure=mode,
            variant=name,
            batch_size=batch,
            resolution=args.resolution,
            dtype=args.dtype,
            seconds=seconds[name],
            images_per_second=batch / seconds[name],
            peak_bytes=memory[name],
        )
        for name in steps
    ]


def run_scaling(args: argparse.Namespace) -> Iterator[List[dict]]:
    """Measures the time for one image of growing size; yields each size's."""
    models = build_models(SCALING_MODELS if args.scaling else [], args)
    for resolution in args.scaling:
        images = torch.randn(1, 3, resolution, resolution, device=args.device)
        steps = {}
        for name, model in models.items():
            step = inference_step(model, images, args)
            try:
                step()
            except RuntimeError as error:
                leave_out(name, error, OURS)
                continue
            steps[name] = step
        seconds = time_steps(steps, args)
        print(resolution, {n: round(s, 4) for n, s in seconds.items()})
        yield [
            dict(
                measure='scaling',
                variant=name,
                batch_size=1,
                resolution=resolution,
                dtype=args.dtype,
                seconds=seconds[name],
            )
            for name in steps
        ]


def summarize(results: List[dict]) -> Dict[str, str]:
    """Returns a table for each measure."""
    tables = {}
    for mode in STEPS:
        chosen = {r['variant']: r for r in results if r['measure'] == mode}
        if not chosen:
            continue
        base = chosen.get('reference')
        header = ['model', 'images/s', 'peak MiB']
        rows = [
            [
                name,
                f'{result["images_per_second"]:.1f}',
                f'{result["peak_bytes"] / 2**20:.0f}',
            ]
            for name, result in chosen.items()
        ]
        if base:
            header.insert(2, '/ reference')
            for row, result in zip(rows, chosen.values()):
                ratio = base['seconds'] / result['seconds']
                row.insert(2, f'{ratio:.2f}x')
        if set(PUBLISHED.values()) & set(chosen):
            header.insert(-1, '/ published')
            for row, (name, result) in zip(rows, chosen.items()):
                other = chosen.get(PUBLISHED.get(name))
                ratio = other['seconds'] / result['seconds'] if other else None
                row.insert(-1, f'{ratio:.2f}x' if other else '')
        tables[mode] = format_table(header, rows)
    scaling = [r for r in results if r['measure'] == 'scaling']
    if scaling:
        variants = list(dict.fromkeys(r['variant'] for r in scaling))
        times = {
            (r['variant'], r['resolution']): r['seconds'] for r in scaling
        }
        resolutions = list(dict.fromkeys(r['resolution'] for r in scaling))
        rows = []
        for size in resolutions:
            row = [times.get((variant, size)) for variant in variants]
            rows.append(
                [
                    f'{size}x{size}',
                    *('' if t is None else f'{t * 1e3:.1f}' for t in row),
                    *(
                        '' if t is None else f'{t * 1e9 / size**2:.0f}'
                        for t in row
                    ),
                ]
            )
        header = ['image', *(f'{v}, ms' for v in variants)]
        header += [f'{v}, ns/pixel' for v in variants]
        tables['scaling'] = format_table(header, rows)
    return tables


def plot(path: Path, results: List[dict]) -> None:
    """Draws images per second, and time over the size of an image."""
    plt = import_pyplot()
    if plt is None:
        return

    measures = list(dict.fromkeys(r['measure'] for r in results))
    figure, axes = plt.subplots(
        1,
        len(measures),
        figsize=(5.5 * len(measures), 4),
        squeeze=False,
        layout='constrained',
    )
    for axis, name in zip(axes[0], measures):
        chosen = [r for r in results if r['measure'] == name]
        variants = list(dict.fromkeys(r['variant'] for r in chosen))
        if name == 'scaling':
            for variant in variants:
                points = [r for r in chosen if r['variant'] == variant]
                axis.plot(
                    [r['resolution'] for r in points],
                    [r['seconds'] for r in points],
                    marker='o',
                    label=variant,
                )
            sizes = list(dict.fromkeys(r['resolution'] for r in chosen))
            least = min(r['seconds'] for r in chosen)
            axis.plot(
                sizes,
                [least / 2 * (size / sizes[0]) ** 2 for size in sizes],
                color='gray',
                linestyle=':',
                label='linear in H x W',
            )
            axis.set(
                xscale='log',
                yscale='log',
                xlabel='height and width of the image',
                ylabel='seconds per image',
                title=f'inference, batch 1, {chosen[0]["dtype"]}',
            )
            axis.set_xticks(sizes, sizes)
            axis.set_xticks([], minor=True)
            axis.grid(alpha=0.3)
            axis.legend()
            continue
        speeds = [r['images_per_second'] for r in chosen]
        ours = [v.lower().startswith('activemlp') for v in variants]
        colors = ['C0' if is_ours else 'C7' for is_ours in ours]
        bars = axis.barh(variants, speeds, color=colors)
        axis.bar_label(bars, fmt='%.1f', padding=2, fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.tick_params(axis='y', labelsize=8)
        axis.set(
            xlabel='images per second',
            title='{measure}, batch {batch_size}, {resolution}x{resolution}, '
            '{dtype}'.format(**chosen[0]),
        )
    save_figure(figure, path)


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser('Times ActiveMLP-Tiny against networks of its size.')
    parser.add_argument('--threads', type=int, help='of the CPU')
    parser.add_argument(
        '--models', nargs='+', choices=MODELS, default=list(MODELS)
    )
    parser.add_argument(
        '--configs',
        nargs='+',
        type=Path,
        default=[],
        metavar='FILE',
        help='time the classifiers of these configs instead, or, if they are '
        'of detectors or segmentors, the backbones; needs OpenMMLab',
    )
    parser.add_argument(
        '--modes', nargs='*', choices=STEPS, default=list(STEPS)
    )
    parser.add_argument(
        '--batch-size', type=int, help='default: 8, on a GPU 128'
    )
    parser.add_argument('--resolution', type=int, default=224)
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        help='below float32 by autocast; default: float32, on a GPU bfloat16',
    )
    parser.add_argument(
        '--compile', action='store_true', help='add models compiled by torch'
    )
    parser.add_argument(
        '--scaling',
        nargs='*',
        type=int,
        default=[],
        metavar='SIZE',
        help='heights and widths to time single images of',
    )
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args()
    for path in args.configs:
        if not path.is_file():
            parser.error(f'--configs: there is no file {str(path)!r}')
    args.dtype = args.dtype or (
        'float32' if args.device == 'cpu' else 'bfloat16'
    )
    return args


def main() -> None:
    """Measures all models, prints tables, writes numbers and a plot."""
    args = parse_args()
    if args.plot:
        plot(args.plot.with_suffix('.png'), read_results(args.plot))
        return
    require_kernel(args.device)
    if not (is_installed('mmengine') and is_installed('mmcv')):
        print('with stand-ins for mmengine and mmcv, which are not installed')
        openmmlab_stand_in.install()
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.disable(logging.INFO)  # what mmengine says of each weight
    run = describe_run(args.device)

    path = args.out / f'{args.name or f"models_{args.device}"}.json'
    results = []
    for part in itertools.chain(
        (run_mode(mode, args) for mode in args.modes), run_scaling(args)
    ):
        results += part
        write_results(path, run, results)
    for name, table in summarize(results).items():
        print(f'\n{name}\n{table}')
    print(f'\nwrote {path}')
    plot(path.with_suffix('.png'), results)


if __name__ == '__main__':
    main()
