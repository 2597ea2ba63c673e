# Copyright (c) mmactive contributors. All rights reserved.
"""Writes the model zoo: what every config costs, beside the paper's tables.

Builds the model of each config, counts its parameters and multiply-adds, and
writes ``docs/en/model_zoo.md``, ``configs/*/metafile.yml`` and
``model-index.yml``. The paper's figures come from ``model_zoo.yml``.
"""

import argparse
import re
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence

import torch
import yaml
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import mmactive
from mmactive.utils.complexity import (
    NUM_BOX_REGIONS,
    NUM_MASK_REGIONS,
    Complexity,
    build_model,
    count_complexity,
)

ROOT = Path(__file__).resolve().parents[2]
PAPER_TITLE = 'ActiveMLP: An MLP-like Architecture with Active Token Mixer'
PAPER_URL = 'https://arxiv.org/abs/2203.06108'
COSTS = ('params', 'flops')

INTRODUCTION = f"""\
# Model zoo

<!-- Written by tools/analysis_tools/model_zoo.py; edit it or its .yml. -->

Every row is a config. *Paper* is what the paper's tables print
([{PAPER_TITLE}]({PAPER_URL})),
*measured* is counted on the model that the config builds, and *diff.* is
measured less printed. FLOPs are multiply-adds of convolutions and linear
layers in the inference of one image of the given size, heads included. Those
of two-stage detectors process {NUM_BOX_REGIONS} boxes and {NUM_MASK_REGIONS}
masks.

All results are the paper's. *Reproduced* stays empty until somebody has
trained the config.

`python tools/analysis_tools/model_zoo.py` writes this page.
"""

DIFFERENCES = """\
## Cells that differ

A measured number, rounded to as many decimals as the paper prints, is the
paper's in all cells but these.
"""

# Likely reason of FLOPs that differ
WITH_OTHERS = """\
With normalization and resizing, as fvcore counts them: {}\
"""


class Row(NamedTuple):
    """What has been measured of a config.

    Attributes:
        config (str): Path of the config file from the repository's root.
        variant (str): Variant of the backbone.
        cost (Complexity): Parameters and multiply-adds.
        schedule (dict[str, int]): Length and batch size of its training, as
            ``metafile.yml`` has them.
    """

    config: str
    variant: str
    cost: Complexity
    schedule: Dict[str, int]

    @property
    def name(self) -> str:
        """Name of the config."""
        return Path(self.config).stem

    @property
    def params(self) -> float:
        """Parameters in millions."""
        return self.cost.params / 1e6

    @property
    def flops(self) -> float:
        """Multiply-adds in 1e9."""
        return self.cost.macs / 1e9


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=ROOT,
        help='folder to write to (default: the repository)',
    )
    return parser.parse_args()


def load_sections() -> List[dict]:
    """Loads the sections of the model zoo."""
    return yaml.safe_load(Path(__file__).with_suffix('.yml').read_text())


class Meter:
    """Measures configs, each model once."""

    def __init__(self) -> None:
        self.known: Dict[str, Complexity] = {}

    def measure(self, section: dict, variant: str) -> Row:
        """Builds the model of a config and counts.

        Args:
            section (dict): A section of ``model_zoo.yml``.
            variant (str): One of its variants.

        Returns:
            Row: What has been measured.
        """
        config = 'configs/' + section['config'].format(variant)
        cfg = Config.fromfile(ROOT / config)
        key = repr((cfg.model, section['shape']))
        if key not in self.known:
            model = build_model(cfg)
            self.known[key] = count_complexity(model, section['shape'])
        return Row(config, variant, self.known[key], get_schedule(cfg))


def get_schedule(cfg: Config) -> Dict[str, int]:
    """Returns length and batch size of a config's training."""
    length = (
        {'Iterations': cfg.train_cfg.max_iters}
        if 'max_iters' in cfg.train_cfg
        else {'Epochs': cfg.train_cfg.max_epochs}
    )
    return {**length, 'Batch Size': cfg.auto_scale_lr.base_batch_size}


class OtherOperations(TorchDispatchMode):
    """Counts operations beside multiply-adds, as fvcore does.

    fvcore takes 5 operations for each element of a layer norm, 2 of a batch
    norm, 4 of a bilinearly resized map and 1 of a map that is resized by its
    nearest neighbours. Its count of pooling is negligible.

    Attributes:
        count (int): Number of operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Runs an operator of PyTorch and counts it."""
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name == 'native_layer_norm':
            self.count += 5 * out[0].numel()
        elif 'batch_norm' in name:
            self.count += 2 * out[0].numel()
        elif name == 'upsample_bilinear2d':
            self.count += 4 * out.numel()
        elif name == 'upsample_nearest2d':
            self.count += out.numel()
        return out


def count_others(model: nn.Module, shape: Sequence[int]) -> int:
    """Counts what :class:`OtherOperations` does up to the final output.

    That is scores of the image's size for a segmentor.

    Args:
        model (nn.Module): A classifier or segmentor on the meta device.
        shape (Sequence[int]): Height and width of the image.

    Returns:
        int: Number of operations.
    """
    image: Tensor = torch.zeros(1, 3, *shape, device='meta')
    with torch.no_grad(), OtherOperations() as counter:
        if hasattr(model, 'encode_decode'):
            model.encode_decode(image, [dict(img_shape=tuple(shape))])
        else:
            model(image)
    return counter.count


def rounded(value: float, printed: float) -> str:
    """Rounds to the decimals of a printed number."""
    decimals = len(str(printed).partition('.')[2])
    return f'{value:.{decimals}f}'


def iter_printed(section: dict, variant: str) -> Iterator[tuple]:
    """Yields the paper's cells about a config.

    Args:
        section (dict): A section.
        variant (str): One of its variants.

    Yields:
        tuple[dict, str, float]: The table, the column and the number.
    """
    for table in section['printed']:
        for column, value in zip(table['columns'], table.get(variant, ())):
            yield table, column, value


def find_printed(section: dict, variant: str, column: str) -> Optional[float]:
    """Returns what the first table with a column prints, or None."""
    for _, name, value in iter_printed(section, variant):
        if name == column:
            return value
    return None


def list_results(section: dict) -> List[str]:
    """Lists the results that the tables of a section have columns for."""
    columns = {
        column: None
        for table in section['printed']
        for column in table['columns']
        if column not in COSTS
    }
    return list(columns)


def format_table(cells: List[List[str]]) -> str:
    """Formats a Markdown table, whose first row is the header."""
    # Numbers are aligned by their last digits, text is not.
    rules = [
        '--:'
        if all(re.fullmatch(r'[-+]?[\d.]*', cell) for cell in column)
        else '---'
        for column in zip(*cells[1:])
    ]
    rows = [cells[0], rules, *cells[1:]]
    return ''.join('| ' + ' | '.join(row) + ' |\n' for row in rows)


def format_section(section: dict, rows: List[Row]) -> str:
    """Formats a section of the page."""
    results = list_results(section)
    header = ['Config']
    for title in ('Params (M)', 'FLOPs (G)'):
        header += [f'{title}, paper', 'measured', 'diff.']
    header += [f'{title}, paper' for title in results] + ['reproduced']
    cells = [header]
    for row in rows:
        line = [f'[{row.name}](../../{row.config})']
        for column in COSTS:
            measured = getattr(row, column)
            printed = find_printed(section, row.variant, column)
            difference = (
                '' if printed is None else f'{measured - printed:+.2f}'
            )
            line += [as_text(printed), f'{measured:.2f}', difference]
        for column in results:
            line.append(as_text(find_printed(section, row.variant, column)))
        cells.append([*line, ''])

    height, width = section['shape']
    tables = ' and '.join(table['table'] for table in section['printed'])
    text = f'## {section["title"]}\n\n'
    text += f'Images of {height}x{width}. Paper: {tables}.'
    if 'remark' in section:
        text += f' {section["remark"]}'
    return f'{text}\n\n{format_table(cells)}'


def as_text(printed: Optional[float]) -> str:
    """Returns a number as it is printed, or nothing for None."""
    return '' if printed is None else str(printed)


def list_differences(section: dict, row: Row) -> List[List[str]]:
    """Lists the cells of a row that do not round to the paper's."""
    lines = []
    for table, column, printed in iter_printed(section, row.variant):
        if column not in COSTS:
            continue
        measured = getattr(row, column)
        if rounded(measured, printed) == str(printed):
            continue
        reason = table.get('notes', {}).get(f'{row.variant} {column}', '')
        if column == 'flops':
            model = build_model(Config.fromfile(ROOT / row.config))
            others = count_others(model, section['shape'])
            total = rounded(measured + others / 1e9, printed)
            reason = f'{WITH_OTHERS.format(total)}. {reason}'.strip()
        lines.append(
            [
                row.name,
                table['table'],
                dict(params='Params (M)', flops='FLOPs (G)')[column],
                str(printed),
                rounded(measured, printed),
                f'{measured - printed:+.2f}',
                reason,
            ]
        )
    return lines


def format_metafile(sections: List[dict], rows: Dict[str, List[Row]]) -> str:
    """Formats a metafile.yml, in the format of OpenMMLab's libraries."""
    dataset = sections[0]['dataset']
    collection = {
        'Name': f'ActiveMLP on {dataset}',
        'Metadata': {
            'Training Data': dataset,
            'Training Techniques': ['AdamW', 'Weight Decay'],
            'Architecture': ['Active Token Mixer', 'MLP'],
        },
        'Paper': {'Title': PAPER_TITLE, 'URL': PAPER_URL},
        'README': 'docs/en/model_zoo.md',
        'Code': {
            'URL': 'mmactive/models/backbones/activemlp.py',
            'Version': f'v{mmactive.__version__}',
        },
    }
    models = [
        format_model(section, row, collection['Name'])
        for section in sections
        for row in rows[section['title']]
    ]
    content = dict(Collections=[collection], Models=models)
    return yaml.safe_dump(content, sort_keys=False, width=79)


def format_model(section: dict, row: Row, collection: str) -> dict:
    """Returns an entry of a metafile.yml."""
    metadata = {
        'FLOPs': row.cost.macs,
        'Parameters': row.cost.params,
        **row.schedule,
        'Training Data': section['dataset'],
    }
    if 'method' in section:
        metadata['Architecture'] = ['ActiveMLP', section['method']]
    model = {
        'Name': row.name,
        'In Collection': collection,
        'Config': row.config,
        'Metadata': metadata,
    }
    results: Dict[str, dict] = {}
    for _, column, printed in iter_printed(section, row.variant):
        if column in COSTS:
            continue
        task = section['task']
        if column.startswith('mask'):
            task = 'Instance Segmentation'
        # The label keeps anybody from taking it for a result of ours.
        results.setdefault(task, {})[f'{column} (paper)'] = printed
    if results:
        model['Results'] = [
            {'Task': task, 'Dataset': section['dataset'], 'Metrics': metrics}
            for task, metrics in results.items()
        ]
    return model


def write(path: Path, text: str) -> None:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def main() -> None:
    """Runs the command."""
    args = parse_args()
    sections = load_sections()
    meter = Meter()
    pages, differences = [INTRODUCTION], []
    rows: Dict[str, List[Row]] = {}
    print(INTRODUCTION)
    for section in sections:
        rows[section['title']] = [
            meter.measure(section, variant) for variant in section['variants']
        ]
        for row in rows[section['title']]:
            differences += list_differences(section, row)
        pages.append(format_section(section, rows[section['title']]))
        print(pages[-1], flush=True)
    header = ['Config', 'Table', 'Cell', 'paper', 'measured', 'diff.']
    header.append('Likely reason')
    pages.append(f'{DIFFERENCES}\n{format_table([header, *differences])}')
    print(pages[-1])

    write(args.out_dir / 'docs/en/model_zoo.md', '\n'.join(pages))
    folders = {section['config'].split('/')[0]: [] for section in sections}
    for section in sections:
        folders[section['config'].split('/')[0]].append(section)
    for folder, members in folders.items():
        write(
            args.out_dir / 'configs' / folder / 'metafile.yml',
            format_metafile(members, rows),
        )
    index = dict(Import=[f'configs/{name}/metafile.yml' for name in folders])
    write(args.out_dir / 'model-index.yml', yaml.safe_dump(index))


if __name__ == '__main__':
    main()
