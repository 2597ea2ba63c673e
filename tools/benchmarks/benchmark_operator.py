# Copyright (c) mmactive contributors. All rights reserved.
r"""Times the ATM operator against other ways to compute the same.

For shapes of ActiveMLP's stages it measures

- ``layer``: the operator and the linear layer behind it, as in one branch of
  the token mixer, against deformable convolutions that hold the linear layer
  as their 1x1 kernel (torchvision's is how the released models run). The
  linear layer alone (``linear``) bounds what any operator can reach: ``bound``
  is torchvision's time over its,
- ``gather``: the operator alone, against other ways to sample, against a copy
  of the bytes that have to move (``copy``) and against copies of its tensors
  one by one (``copies``): input and offset in, output out,

each forward and backward. All variants compute the same, which is checked
first, and take turns. In half precision the peers compute in float32, as they
do under autocast. On a GPU the calls are CUDA graphs on tensors that together
do not fit into its cache. Needs PyTorch; torchvision, mmcv and matplotlib are
used if they are installed.

    python tools/benchmarks/benchmark_operator.py --stages 1 4 --dims 2
    python tools/benchmarks/benchmark_operator.py --arch tiny large \
        --inputs 1x224x224 8x224x224 64x224x224 1x800x1280 2x800x1280
    python tools/benchmarks/benchmark_operator.py --channels 32 64 128 256
"""

import argparse
import itertools
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List, Tuple

import torch
import torch.nn.functional as F
from benchmark_utils import (
    copy_bandwidth,
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
    use_stream,
    write_results,
)
from torch import Tensor

from mmactive.ops import axial_deform_gather, axial_deform_gather_reference
from mmactive.ops.linear import linear

try:
    from torchvision.ops import deform_conv2d
except ImportError:
    deform_conv2d = None
try:
    from mmcv.ops import deform_conv2d as mmcv_deform_conv2d
except ImportError:
    mmcv_deform_conv2d = None

DIMS = dict(tiny=(64, 128, 320, 512), large=(96, 192, 384, 768))
SHARED_CHANNELS = (2, 4, 4, 8)
STRIDES = (4, 8, 16, 32)
DTYPES = ('float32', 'bfloat16', 'float16')
MEASURES = (
    'layer forward',
    'layer forward+backward',
    'gather forward',
    'gather backward',
)


# What the yardsticks are called.
YARDSTICKS = ('linear', 'copy', 'copies')


class Case:
    """Tensors of one stage, and the ways to sample them.

    Args:
        shape (tuple[int]): N, H, W and C of the tokens.
        shared (int): Neighbouring channels that share an offset.
        dim (int): The axis: 1 (vertical) or 2 (horizontal).
        dtype (torch.dtype): The dtype of the tokens. Offsets are float32, as
            under autocast.
        device (str): 'cpu' or 'cuda'.
        seed (int): Of the random numbers.
    """

    def __init__(self, shape, shared, dim, dtype, device, seed=0):
        n, h, w, c = shape
        self.dim, self.shared = dim, shared
        generator = torch.Generator(device).manual_seed(seed)

        def randn(*size, std=1.0):
            return std * torch.randn(size, generator=generator, device=device)

        self.input = randn(*shape).to(dtype).requires_grad_()
        # Both axes' offsets lie in one tensor, as the offset layer writes it.
        packed = randn(n, h, w, 2 * c // shared, std=2.0)
        self.offset = packed.chunk(2, dim=-1)[2 - dim].requires_grad_()
        self.weight = randn(c, c, std=c**-0.5).to(dtype).requires_grad_()
        self.bias = randn(c).to(dtype).requires_grad_()
        self.grad = randn(*shape).to(dtype)

    def tensors(self, layer: bool) -> List[Tensor]:
        """Returns what gets a gradient."""
        parameters = [self.weight, self.bias] if layer else []
        return [self.input, self.offset, *parameters]

    # --- The operator and a linear layer -------------------------------------

    def mmactive_layer(self) -> Tensor:
        """The operator, then the linear layer."""
        output = axial_deform_gather(self.input, self.offset, self.dim)
        return linear(output, self.weight, self.bias)

    def linear(self) -> Tensor:
        """The linear layer alone."""
        return linear(self.input, self.weight, self.bias)

    def torchvision_layer(self) -> Tensor:
        """A 1x1 deformable convolution with one offset group a channel."""
        output = deform_conv2d(
            self.input.float().permute(0, 3, 1, 2),
            self._expanded_offset(),
            self.weight.float()[:, :, None, None],
            self.bias.float(),
        )
        return output.permute(0, 2, 3, 1).to(self.input.dtype)

    def mmcv_layer(self) -> Tensor:
        """The same with mmcv's deformable convolution, which has no bias."""
        n, c = len(self.input), self.input.size(3)
        output = mmcv_deform_conv2d(
            self.input.float().permute(0, 3, 1, 2).contiguous(),
            self._expanded_offset(),
            self.weight.float()[:, :, None, None],
            1,  # stride
            0,  # padding
            1,  # dilation
            1,  # groups
            c,  # deform_groups
            False,  # bias
            n,  # im2col_step
        )
        output = output.permute(0, 2, 3, 1) + self.bias.float()
        return output.to(self.input.dtype)

    def _expanded_offset(self) -> Tensor:
        """Returns offsets (y, x) of every channel, of which one is zero."""
        offset = self.offset.permute(0, 3, 1, 2)
        offset = offset.repeat_interleave(self.shared, dim=1)
        n, c, h, w = offset.shape
        both = offset.new_zeros(n, 2 * c, h, w)
        both[:, self.dim - 1 :: 2] += offset
        return both

    # --- The operator alone --------------------------------------------------

    def mmactive_gather(self) -> Tensor:
        """The operator."""
        return axial_deform_gather(self.input, self.offset, self.dim)

    def gather_lerp(self) -> Tensor:
        """Two ``torch.gather`` and an interpolation."""
        return axial_deform_gather_reference(self.input, self.offset, self.dim)

    def grid_sample(self) -> Tensor:
        """``F.grid_sample`` with the groups as images."""
        n, h, w, c = self.input.shape
        groups = c // self.shared
        image = self.input.float().permute(0, 3, 1, 2)
        image = image.reshape(n * groups, self.shared, h, w)
        moved = self.offset.permute(0, 3, 1, 2).reshape(n * groups, h, w)
        x = torch.arange(w, device=moved.device).expand_as(moved)
        y = torch.arange(h, device=moved.device)[:, None].expand_as(moved)
        if self.dim == 1:
            y = y + moved
        else:
            x = x + moved
        # In grid_sample's coordinates -1 and 1 are the edges of the image.
        grid = torch.stack(((2 * x + 1) / w - 1, (2 * y + 1) / h - 1), dim=-1)
        output = F.grid_sample(image, grid, align_corners=False)
        output = output.view(n, c, h, w).permute(0, 2, 3, 1)
        return output.to(self.input.dtype)

    def num_bytes(self, backward: bool) -> int:
        """Returns how many bytes must move at least."""
        tokens, offsets = self.input.nbytes, self.offset.nbytes
        return 3 * tokens + 2 * offsets if backward else 2 * tokens + offsets

    def copy(self, backward: bool) -> Callable[[], Tensor]:
        """Returns a copy that reads and writes as many bytes."""
        source = torch.zeros(
            self.num_bytes(backward) // 2,
            dtype=torch.uint8,
            device=self.input.device,
        )
        target = torch.empty_like(source)
        return lambda: target.copy_(source)

    def copies(self, backward: bool) -> Callable[[], None]:
        """Returns copies of all tensors that are read or written."""
        tokens, offset = self.input.detach(), self.offset.detach()
        sources = [tokens, tokens, offset.contiguous()]
        if backward:
            sources += [tokens, offset.contiguous()]
        sources = [source.clone() for source in sources]
        targets = [source.clone() for source in sources]

        def copy():
            for target, source in zip(targets, sources):
                target.copy_(source)

        return copy


Function = Callable[[Case], Tensor]


def find_variants(layer: bool, compiled: bool) -> Dict[str, Function]:
    """Returns the functions that can be compared, ours first."""
    if layer:
        variants = {'mmactive': Case.mmactive_layer}
        if deform_conv2d is not None:
            variants['torchvision'] = Case.torchvision_layer
        if mmcv_deform_conv2d is not None:
            variants['mmcv'] = Case.mmcv_layer
        peers = ['mmactive', 'torchvision']
    else:
        variants = {
            'mmactive': Case.mmactive_gather,
            'grid_sample': Case.grid_sample,
            'gather+lerp': Case.gather_lerp,
        }
        peers = ['grid_sample', 'gather+lerp']
    if compiled:
        torch._dynamo.reset()
        for name in peers:
            if name in variants:
                variants[f'{name} (compiled)'] = torch.compile(variants[name])
    return variants


def forward(function: Function, case: Case, layer: bool) -> Callable:
    """Returns a call without gradients."""

    def call():
        with torch.no_grad():
            return function(case)

    return call


def forward_backward(function: Function, case: Case, layer: bool) -> Callable:
    """Returns a call with gradients."""
    inputs = case.tensors(layer)
    # The linear layer alone has no use for the offsets.
    return lambda: torch.autograd.grad(
        function(case), inputs, case.grad, allow_unused=True
    )


def backward(function: Function, case: Case, layer: bool) -> Callable:
    """Returns a call of the gradients alone."""
    inputs, output = case.tensors(layer), function(case)
    return lambda: torch.autograd.grad(
        output, inputs, case.grad, retain_graph=True
    )


MODES = {
    'forward': forward,
    'forward+backward': forward_backward,
    'backward': backward,
}


def check_variants(case: Case, variants: Dict[str, Function]) -> dict:
    """Returns the variants that run, if they all compute the same."""
    tolerance = 1e-3 if case.input.dtype == torch.float else 0.1
    checked = {}
    for name, function in variants.items():
        try:
            with torch.no_grad():
                output = function(case).float()
        except RuntimeError as error:
            leave_out(name, error, 'mmactive')
            continue
        if not checked:
            expected = output
        torch.testing.assert_close(
            output,
            expected,
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, name=name: f'{name} differs: {text}',
        )
        checked[name] = function
    return checked


def run_mode(
    kind: str,
    mode: str,
    variants: Dict[str, Function],
    cases: List[Case],
    args: argparse.Namespace,
) -> List[dict]:
    """Measures the layer or the gather in one mode."""
    layer = kind == 'layer'
    calls, memory = {}, {}
    for name, function in variants.items():
        try:
            of_name = [MODES[mode](function, case, layer) for case in cases]
            of_name[0]()  # compiles
            memory[name] = peak_memory(of_name[0], args.device)
        except RuntimeError as error:
            leave_out(name, error, 'mmactive')
            continue
        calls[name] = of_name
    num_bytes = None
    if layer:
        calls['linear'] = [
            MODES[mode](Case.linear, case, layer) for case in cases
        ]
    else:
        is_backward = mode == 'backward'
        num_bytes = cases[0].num_bytes(is_backward)
        calls['copy'] = [case.copy(is_backward) for case in cases]
        calls['copies'] = [case.copies(is_backward) for case in cases]
    measured = measure(
        calls, args.device, args.rounds, args.min_seconds, graph=True
    )
    results = []
    for name, (seconds, timed) in measured.items():
        result = dict(
            measure=f'{kind} {mode}',
            variant=name,
            timed=timed,
            seconds=seconds,
            ratio=seconds / measured['mmactive'].seconds,
            peak_bytes=memory.get(name),
        )
        if num_bytes is not None:
            speed = num_bytes / seconds
            result.update(
                bytes=num_bytes,
                gb_per_second=speed / 1e9,
                fraction_of_copy=measured['copy'].seconds / seconds,
                fraction_of_large_copy=speed / args.copy_bandwidth,
            )
        results.append(result)
    return results


def run_cases(cases: List[Case], args: argparse.Namespace) -> List[dict]:
    """Measures everything on tensors of one shape."""
    results = []
    for kind in ('layer', 'gather'):
        modes = [m for m in MODES if f'{kind} {m}' in args.measures]
        if not modes:
            continue
        variants = find_variants(kind == 'layer', args.compile)
        variants = check_variants(cases[0], variants)
        for mode in modes:
            results += run_mode(kind, mode, variants, cases, args)
    return results


def make_cases(
    shape: Tuple[int, ...], args: argparse.Namespace, **options
) -> List[Case]:
    """Makes as many sets of tensors as the cache does not hold."""
    first = Case(shape, device=args.device, **options)
    number = 1
    if args.device == 'cuda':
        device = torch.cuda.get_device_properties(first.input.device)
        # Of very small tensors 256 sets have to do: graphs have limits.
        number += 4 * device.L2_cache_size // first.num_bytes(backward=False)
        number = min(number, 256)
    others = range(1, number)
    return [
        first,
        *(Case(shape, device=args.device, seed=i, **options) for i in others),
    ]


def find_shapes(args: argparse.Namespace) -> Iterator[dict]:
    """Yields what describes the tokens of each case."""
    for (batch, height, width), arch, stage in itertools.product(
        args.inputs, args.arch, args.stages
    ):
        stride = STRIDES[stage - 1]
        tokens = (batch, height // stride, width // stride)
        size = f'{batch}x{height}x{width}'
        if args.channels is None:
            yield dict(
                arch=arch,
                stage=stage,
                input=size,
                shape=(*tokens, DIMS[arch][stage - 1]),
                shared=SHARED_CHANNELS[stage - 1],
            )
            continue
        for channels in args.channels:
            yield dict(
                arch='any',
                stage=stage,
                input=size,
                shape=(*tokens, channels),
                shared=SHARED_CHANNELS[stage - 1],
            )


def summarize(results: List[dict]) -> Dict[str, str]:
    """Returns a table for each measure."""
    tables = {}
    for name in MEASURES:
        chosen = [r for r in results if r['measure'] == name]
        if not chosen:
            continue
        names = list(dict.fromkeys(r['variant'] for r in chosen))
        peers = [n for n in names if n not in ('mmactive', *YARDSTICKS)]
        header = ['N x H x W x C, S, dim, dtype', 'ms', 'MiB']
        header += [f'{peer}, MiB' for peer in peers]
        bounded = {'linear', 'torchvision'} <= set(names)
        if bounded:
            header.append('bound')
        if 'copies' in names:
            header += ['/ copies', 'of copy', 'GB/s', 'of large copy']
        rows = []
        for case, group in itertools.groupby(chosen, lambda r: r['case']):
            group = {r['variant']: r for r in group}
            ours = group['mmactive']
            row = [case, f'{ours["seconds"] * 1e3:.3f}']
            row.append(f'{ours["peak_bytes"] / 2**20:.1f}')
            for peer in peers:
                if peer not in group:
                    row.append('')
                    continue
                ratio = group[peer]['seconds'] / ours['seconds']
                memory = group[peer]['peak_bytes'] / 2**20
                row.append(f'{ratio:.1f}x, {memory:.1f}')
            if bounded:
                ratio = (
                    group['torchvision']['seconds']
                    / group['linear']['seconds']
                )
                row.append(f'{ratio:.1f}x')
            if 'copies' in names:
                ratio = ours['seconds'] / group['copies']['seconds']
                row += [
                    f'{ratio:.2f}',
                    f'{ours["fraction_of_copy"]:.0%}',
                    f'{ours["gb_per_second"]:.1f}',
                    f'{ours["fraction_of_large_copy"]:.0%}',
                ]
            rows.append(row)
        tables[name] = format_table(header, rows)
    return tables


def plot(path: Path, results: List[dict]) -> None:
    """Draws times: a file for each architecture and dtype."""
    plt = import_pyplot()
    if plt is None:
        return

    groups = {}
    for result in results:
        groups.setdefault((result['arch'], result['dtype']), []).append(result)
    for (arch, dtype), group in groups.items():
        if arch == 'any':
            figure, title = draw_lines(plt, group), dtype
        else:
            figure = draw_bars(plt, group)
            title = f'ActiveMLP-{arch.capitalize()}, {dtype}'
        figure.suptitle(title)
        name = path.stem
        if len(groups) > 1:
            name += f'_{arch}_{dtype}'
        save_figure(figure, path.with_name(f'{name}.png'))
        plt.close(figure)


def draw_bars(plt: ModuleType, results: List[dict]) -> Any:
    """Draws times relative to ours: measures by inputs."""
    measures = [m for m in MEASURES if any(r['measure'] == m for r in results)]
    inputs = list(dict.fromkeys(r['input'] for r in results))
    fontsize = 7 if len(inputs) == 1 else 5
    figure, axes = plt.subplots(
        len(measures),
        len(inputs),
        figsize=(4 + 5 * len(inputs), 0.5 + 2.6 * len(measures)),
        squeeze=False,
        sharex='col',
        sharey='row',
        layout='constrained',
    )
    for row, name in zip(axes, measures):
        of_measure = [r for r in results if r['measure'] == name]
        variants = list(dict.fromkeys(r['variant'] for r in of_measure))
        variants.remove('mmactive')
        width = 0.8 / len(variants)
        for axis, size in zip(row, inputs):
            chosen = [r for r in of_measure if r['input'] == size]
            cases = list(dict.fromkeys(r['case'] for r in chosen))
            ratios = {(r['case'], r['variant']): r['ratio'] for r in chosen}
            for i, variant in enumerate(variants):
                bars = axis.bar(
                    [j + (i + 0.5) * width - 0.4 for j in range(len(cases))],
                    [ratios.get((c, variant), float('nan')) for c in cases],
                    width,
                    label=variant,
                )
                axis.bar_label(bars, fmt='%.3g', fontsize=fontsize)
            axis.axhline(1, color='black', linewidth=1)
            axis.set(yscale='log', title=f'{name}, {size}')
            axis.margins(y=0.2)
            axis.set_xticks(
                range(len(cases)),
                [case.replace(', ', '\n', 1) for case in cases],
                fontsize=fontsize,
            )
        row[0].set_ylabel('time / mmactive')
        row[-1].legend(fontsize=7, loc='center left', bbox_to_anchor=(1, 0.5))
    return figure


def draw_lines(plt: ModuleType, results: List[dict]) -> Any:
    """Draws the times over the channels: a row of measures."""
    measures = [m for m in MEASURES if any(r['measure'] == m for r in results)]
    figure, axes = plt.subplots(
        1,
        len(measures),
        figsize=(5 * len(measures), 4.5),
        squeeze=False,
        layout='constrained',
    )
    for axis, name in zip(axes[0], measures):
        lines = {}
        for result in results:
            if result['measure'] == name:
                label = '{variant}, {input}, dim {dim}'.format(**result)
                lines.setdefault(label, {})[result['shape'][3]] = result
        for label, line in lines.items():
            axis.plot(
                list(line),
                [result['seconds'] * 1e3 for result in line.values()],
                marker='o',
                linestyle='-' if label.startswith('mmactive') else '--',
                label=label,
            )
        first = min(line[min(line)]['seconds'] for line in lines.values())
        channels = sorted({c for line in lines.values() for c in line})
        axis.plot(
            channels,
            [first * 500 * c / channels[0] for c in channels],
            color='gray',
            linestyle=':',
            label='linear in C',
        )
        axis.set(xscale='log', yscale='log', title=name, xlabel='channels C')
        axis.set_xticks(channels, channels)
        axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=6)
    axes[0, 0].set_ylabel('ms')
    return figure


def input_size(text: str) -> Tuple[int, int, int]:
    """Reads N x H x W."""
    batch, height, width = map(int, text.split('x'))
    return batch, height, width


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser('Times the ATM operator against its alternatives.')
    parser.add_argument('--threads', type=int, help='of the CPU')
    parser.add_argument('--arch', nargs='+', choices=DIMS, default=['tiny'])
    parser.add_argument(
        '--stages', nargs='+', type=int, choices=[1, 2, 3, 4], default=None
    )
    parser.add_argument(
        '--channels',
        nargs='+',
        type=int,
        metavar='C',
        help='instead of those of the architecture, by default for the tokens '
        'and shared channels of stage 1, to show the cost over C',
    )
    parser.add_argument(
        '--inputs',
        nargs='+',
        type=input_size,
        default=[(8, 224, 224)],
        metavar='NxHxW',
        help='batches of images',
    )
    parser.add_argument('--dims', nargs='+', type=int, default=[1, 2])
    parser.add_argument(
        '--dtypes', nargs='+', choices=DTYPES, default=['float32']
    )
    parser.add_argument(
        '--measures', nargs='+', choices=MEASURES, default=MEASURES
    )
    parser.add_argument(
        '--compile', action='store_true', help='add variants compiled by torch'
    )
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument(
        '--min-seconds', type=float, default=0.01, help='length of a round'
    )
    args = parser.parse_args()
    if args.channels is not None:
        args.arch = ['any']
    if args.stages is None:
        args.stages = [1, 2, 3, 4] if args.channels is None else [1]
    return args


def main() -> None:
    """Measures all cases, prints tables, writes numbers and a plot."""
    args = parse_args()
    if args.plot:
        plot(args.plot.with_suffix('.png'), read_results(args.plot))
        return
    require_kernel(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    run = describe_run(args.device)

    path = args.out / f'{args.name or f"operator_{args.device}"}.json'
    results = []
    with use_stream(args.device):
        args.copy_bandwidth = copy_bandwidth(args.device)
        run['copy_gb_per_second'] = args.copy_bandwidth / 1e9
        print(f'a large copy: {run["copy_gb_per_second"]:.1f} GB/s')
        for case, dtype, dim in itertools.product(
            find_shapes(args), args.dtypes, args.dims
        ):
            shape, shared = case['shape'], case['shared']
            cases = make_cases(
                shape,
                args,
                shared=shared,
                dim=dim,
                dtype=getattr(torch, dtype),
            )
            label = f'{"x".join(map(str, shape))}, {shared}, {dim}, {dtype}'
            results += [
                dict(
                    case=label,
                    **case,
                    dim=dim,
                    dtype=dtype,
                    buffers=len(cases),
                    **result,
                )
                for result in run_cases(cases, args)
            ]
            write_results(path, run, results)
            print('.', end='', flush=True)
    print()
    for name, table in summarize(results).items():
        print(f'\n{name}\n{table}')
    print(f'\nwrote {path}')
    plot(path.with_suffix('.png'), results)


if __name__ == '__main__':
    main()
