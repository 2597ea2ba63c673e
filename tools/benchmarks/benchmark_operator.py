# Copyright (c) mmactive contributors. All rights reserved.
"""Times the ATM operator against other ways to compute the same.

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
first, and take turns. Needs PyTorch; torchvision, mmcv and matplotlib are used
if they are installed.

    python tools/benchmarks/benchmark_operator.py --stages 1 4 --dims 2
    python tools/benchmarks/benchmark_operator.py --device cuda --out results
"""

import argparse
import itertools
from pathlib import Path
from typing import Callable, Dict, List

import torch
import torch.nn.functional as F
from benchmark_utils import (
    describe_run,
    format_table,
    import_pyplot,
    make_parser,
    measure,
    peak_memory,
    save_figure,
    write_results,
)
from torch import Tensor

from mmactive.ops import axial_deform_gather, axial_deform_gather_reference

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


class Case:
    """Tensors of one stage, and the ways to sample them.

    Args:
        shape (tuple[int]): N, H, W and C of the tokens.
        shared (int): Neighbouring channels that share an offset.
        dim (int): The axis: 1 (vertical) or 2 (horizontal).
        dtype (torch.dtype): The dtype of the tokens. Offsets are float32, as
            under autocast.
        device (str): 'cpu' or 'cuda'.
    """

    def __init__(self, shape, shared, dim, dtype, device):
        n, h, w, c = shape
        self.dim, self.shared = dim, shared
        generator = torch.Generator().manual_seed(0)

        def randn(*size, std=1.0):
            return (torch.randn(size, generator=generator) * std).to(device)

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
        return F.linear(output, self.weight, self.bias)

    def linear(self) -> Tensor:
        """The linear layer alone."""
        return F.linear(self.input, self.weight, self.bias)

    def torchvision_layer(self) -> Tensor:
        """A 1x1 deformable convolution with one offset group a channel."""
        output = deform_conv2d(
            self.input.permute(0, 3, 1, 2),
            self._expanded_offset(),
            self.weight[:, :, None, None],
            self.bias,
        )
        return output.permute(0, 2, 3, 1)

    def mmcv_layer(self) -> Tensor:
        """The same with mmcv's deformable convolution, which has no bias."""
        n, c = len(self.input), self.input.size(3)
        output = mmcv_deform_conv2d(
            self.input.permute(0, 3, 1, 2).contiguous(),
            self._expanded_offset(),
            self.weight[:, :, None, None],
            1,  # stride
            0,  # padding
            1,  # dilation
            1,  # groups
            c,  # deform_groups
            False,  # bias
            n,  # im2col_step
        )
        return output.permute(0, 2, 3, 1) + self.bias

    def _expanded_offset(self) -> Tensor:
        """Returns offsets (y, x) of every channel, of which one is zero."""
        offset = self.offset.permute(0, 3, 1, 2)
        offset = offset.repeat_interleave(self.shared, dim=1)
        n, c, h, w = offset.shape
        both = self.input.new_zeros(n, 2 * c, h, w)
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
        image = self.input.permute(0, 3, 1, 2)
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
        output = F.grid_sample(
            image, grid.to(image.dtype), align_corners=False
        )
        return output.view(n, c, h, w).permute(0, 2, 3, 1)

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


def find_variants(case: Case, layer: bool, compiled: bool) -> dict:
    """Returns the functions that can be compared, ours first."""
    if layer:
        variants = {'mmactive': case.mmactive_layer}
        if deform_conv2d is not None:
            variants['torchvision'] = case.torchvision_layer
        if mmcv_deform_conv2d is not None and case.input.dtype == torch.float:
            variants['mmcv'] = case.mmcv_layer
        peers = ['mmactive', 'torchvision']
    else:
        variants = {
            'mmactive': case.mmactive_gather,
            'grid_sample': case.grid_sample,
            'gather+lerp': case.gather_lerp,
        }
        if case.input.dtype != torch.float:
            del variants['grid_sample']  # takes no offsets of a wider dtype
        peers = ['grid_sample', 'gather+lerp']
    if compiled:
        torch._dynamo.reset()
        for name in peers:
            if name in variants:
                variants[f'{name} (compiled)'] = torch.compile(variants[name])
    return variants


def run_case(case: Case, args: argparse.Namespace) -> List[dict]:
    """Measures everything for one case."""
    results = []
    for layer in (True, False):
        kind = 'layer' if layer else 'gather'
        if not any(name.startswith(kind) for name in args.measures):
            continue
        variants = find_variants(case, layer, args.compile)
        expected = None
        for name, function in variants.items():
            with torch.no_grad():
                output = function().float()
            if expected is None:
                expected = output
            tolerance = 1e-3 if case.input.dtype == torch.float else 0.1
            torch.testing.assert_close(
                output,
                expected,
                rtol=tolerance,
                atol=tolerance,
                msg=lambda text, name=name: f'{name} differs: {text}',
            )

        def without_grad(function):
            def call():
                with torch.no_grad():
                    return function()

            return call

        def with_backward(function, layer=layer):
            inputs = case.tensors(layer)
            # The linear layer alone has no use for the offsets.
            return lambda: torch.autograd.grad(
                function(), inputs, case.grad, allow_unused=True
            )

        def backward_only(function, layer=layer):
            inputs, output = case.tensors(layer), function()
            return lambda: torch.autograd.grad(
                output, inputs, case.grad, retain_graph=True
            )

        for mode, wrap in (
            ('forward', without_grad),
            ('forward+backward', with_backward),
            ('backward', backward_only),
        ):
            if f'{kind} {mode}' not in args.measures:
                continue
            functions = {name: wrap(f) for name, f in variants.items()}
            memory = {
                name: peak_memory(f, args.device)
                for name, f in functions.items()
            }
            if layer:
                functions['linear'] = wrap(case.linear)
            else:
                backward = mode == 'backward'
                functions['copy'] = case.copy(backward)
                functions['copies'] = case.copies(backward)
            seconds = measure(
                functions, args.device, args.rounds, args.min_seconds
            )
            results += [
                dict(
                    measure=f'{kind} {mode}',
                    variant=name,
                    seconds=seconds[name],
                    peak_bytes=memory.get(name),
                )
                for name in functions
            ]
    return results


def summarize(results: List[dict]) -> Dict[str, str]:
    """Returns a table for each measure."""
    tables = {}
    for name in MEASURES:
        chosen = [r for r in results if r['measure'] == name]
        if not chosen:
            continue
        names = list(dict.fromkeys(r['variant'] for r in chosen))
        yardsticks = ('linear', 'copy', 'copies')
        peers = [n for n in names if n not in ('mmactive', *yardsticks)]
        header = ['N x H x W x C, S, dim, dtype', 'ms', 'MiB']
        header += [f'{peer}, MiB' for peer in peers]
        bounded = {'linear', 'torchvision'} <= set(names)
        if bounded:
            header.append('bound')
        if 'copies' in names:
            header += ['/ copies', 'of copy']
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
                fraction = group['copy']['seconds'] / ours['seconds']
                row += [f'{ratio:.2f}', f'{fraction:.0%}']
            rows.append(row)
        tables[name] = format_table(header, rows)
    return tables


def plot(path: Path, results: List[dict]) -> None:
    """Draws the times relative to the operator's."""
    plt = import_pyplot()
    if plt is None:
        return

    measures = [m for m in MEASURES if any(r['measure'] == m for r in results)]
    cases = list(dict.fromkeys(r['case'] for r in results))
    figure, axes = plt.subplots(
        len(measures),
        1,
        figsize=(max(7, 1.1 * len(cases)), 2.6 * len(measures)),
        squeeze=False,
        sharex=True,
        layout='constrained',
    )
    for axis, name in zip(axes[:, 0], measures):
        chosen = [r for r in results if r['measure'] == name]
        variants = list(dict.fromkeys(r['variant'] for r in chosen))
        times = {(r['case'], r['variant']): r['seconds'] for r in chosen}
        variants.remove('mmactive')
        width = 0.8 / len(variants)
        for i, variant in enumerate(variants):
            heights = [
                times.get((case, variant), float('nan'))
                / times[case, 'mmactive']
                for case in cases
            ]
            positions = [
                j + (i + 0.5) * width - 0.4 for j in range(len(cases))
            ]
            bars = axis.bar(positions, heights, width, label=variant)
            axis.bar_label(bars, fmt='%.2g', fontsize=7)
        axis.axhline(1, color='black', linewidth=1)
        axis.set(yscale='log', title=name, ylabel='time / mmactive')
        axis.margins(y=0.2)
        axis.legend(fontsize=7, loc='center left', bbox_to_anchor=(1, 0.5))
    axes[-1, 0].set_xticks(
        range(len(cases)),
        [case.replace(', ', '\n', 1) for case in cases],
        fontsize=7,
    )
    save_figure(figure, path)


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser('Times the ATM operator against its alternatives.')
    parser.add_argument('--threads', type=int, help='of the CPU')
    parser.add_argument('--arch', nargs='+', choices=DIMS, default=['tiny'])
    parser.add_argument('--stages', nargs='+', type=int, default=[1, 2, 3, 4])
    parser.add_argument('--dims', nargs='+', type=int, default=[1, 2])
    parser.add_argument(
        '--resolutions', nargs='+', default=['224x224'], metavar='HxW'
    )
    parser.add_argument('--batch-sizes', nargs='+', type=int, default=[8])
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
    return parser.parse_args()


def main() -> None:
    """Measures all cases, prints tables, writes numbers and a plot."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    run = describe_run(args.device)

    results = []
    for arch, resolution, batch, dtype, stage, dim in itertools.product(
        args.arch,
        args.resolutions,
        args.batch_sizes,
        args.dtypes,
        args.stages,
        args.dims,
    ):
        height, width = map(int, resolution.split('x'))
        stride, channels = STRIDES[stage - 1], DIMS[arch][stage - 1]
        shape = (batch, height // stride, width // stride, channels)
        shared = SHARED_CHANNELS[stage - 1]
        case = Case(shape, shared, dim, getattr(torch, dtype), args.device)
        label = f'{"x".join(map(str, shape))}, {shared}, {dim}, {dtype}'
        for result in run_case(case, args):
            results.append(dict(case=label, **result))
        print('.', end='', flush=True)
    print()
    for name, table in summarize(results).items():
        print(f'\n{name}\n{table}')
    name = f'operator_{args.device}'
    write_results(args.out / f'{name}.json', run, results)
    plot(args.out / f'{name}.png', results)


if __name__ == '__main__':
    main()
