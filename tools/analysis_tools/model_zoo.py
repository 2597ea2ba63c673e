# Copyright (c) mmactive contributors. All rights reserved.
"""Writes the model zoo: what every config costs, beside the paper's tables.

Builds the model of each config, counts its parameters and multiply-adds, and
writes ``docs/en/model_zoo/``, ``configs/**/metafile.yml`` and
``model-index.yml``. The rows of the paper come from ``model_zoo.csv``, all
else that is known about them from ``model_zoo.yml``.
"""

import argparse
import csv
import json
import logging
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple, Union

import yaml
from mmengine.config import Config

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
# The tables that `--json` writes; the others are ActiveMLP's alone.
COMPARISONS = ('2', '3', '4', '5', '6')

HEAD = """\
<!-- Written by tools/analysis_tools/model_zoo.py from its .csv and .yml. -->
"""

INTRODUCTION = f"""\
# {{title}}

{HEAD}
{{remark}}

*Paper* is what the paper prints
([{PAPER_TITLE}]({PAPER_URL})),
*measured* is counted on the model that the config builds, *diff.* is measured
less printed. [The overview](../model_zoo.md) says what is counted. All results
are the paper's: nobody has trained these configs here yet.
"""

OVERVIEW = f"""\
# Model zoo

{HEAD}
Every row of the paper's tables
([{PAPER_TITLE}]({PAPER_URL}))
is a config: ActiveMLP and the backbones that it is compared with are trained
by the same tools on the same data, and counted in the same way.

{{pages}}

All results are the paper's. Nobody has trained these configs here yet.
[Your own backbone](new_experiment.md#your-own-backbone-in-all-tables) gets
into all tables in one step.

{{pictures}}
`python tools/analysis_tools/plot_zoo.py` draws them.

## What is counted

Parameters are all of the model's, those of auxiliary heads included.

FLOPs are multiply-adds of convolutions, linear layers and other matrix
products, those of attention included, in the inference of one image of the
size that the page says, heads included. FFTs, norms, activations, resizing and
gathering are not counted. Two-stage detectors process {NUM_BOX_REGIONS} boxes
and {NUM_MASK_REGIONS} masks.

Where a measured number, rounded to as many decimals as the paper prints, is
not the paper's, the page says why. Counters differ in whether they add norms
and resizing, as fvcore's does, and in whether they see the products of
attention; some cells are cut instead of rounded; some are slips.

`python tools/analysis_tools/model_zoo.py` counts everything and writes these
pages; `--json FILE` writes the rows of Tables 2 to 6 as data.
"""


@dataclass
class Row:
    """A row of the paper's tables, and what has been measured of it.

    Attributes:
        table (str): Number of the table, or what else has the row.
        setting (str): Part of the table, a key of ``settings``.
        row (str): Name in the paper.
        label (str): The true name where the paper's is a slip, else empty.
        family (str): Family of the backbone, a key of ``families``.
        config (str): Path of the config from ``configs/``, empty if it is
            still to be written.
        paper (dict[str, int | float]): The paper's cells by column, with as
            many decimals as are printed.
        notes (list[str]): Remarks.
        cost (Complexity | None): What the model costs.
        schedule (dict[str, int]): Length and batch size of its training, as
            ``metafile.yml`` has them.
    """

    table: str
    setting: str
    row: str
    label: str
    family: str
    config: str
    paper: Dict[str, Union[int, float]]
    notes: List[str]
    cost: Optional[Complexity] = None
    schedule: Optional[Dict[str, int]] = None

    @property
    def measured(self) -> Dict[str, float]:
        """Parameters in millions and multiply-adds in 1e9."""
        if self.cost is None:
            return {}
        return dict(params=self.cost.params / 1e6, flops=self.cost.macs / 1e9)


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
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='also write the rows of Tables 2 to 6 as a list of objects, and '
        'nothing else than this file',
    )
    return parser.parse_args()


def load_zoo() -> dict:
    """Loads what is known beside the rows: ``model_zoo.yml``."""
    return yaml.safe_load(Path(__file__).with_suffix('.yml').read_text())


def load_rows(notes: Dict[str, str]) -> List[Row]:
    """Loads the rows of the paper: ``model_zoo.csv``.

    Args:
        notes (dict[str, str]): Texts of the notes.

    Returns:
        list[Row]: The rows, not measured yet.
    """
    rows = []
    with Path(__file__).with_suffix('.csv').open(newline='') as file:
        for line in csv.DictReader(file):
            keys = line.pop('note')
            texts = [notes[key] for key in keys.split(';') if key]
            names = ('table', 'setting', 'row', 'label', 'family', 'config')
            known = {name: line.pop(name) for name in names}
            # What looks like a whole number is one: 3.0 has a decimal.
            paper = {
                column: float(cell) if '.' in cell else int(cell)
                for column, cell in line.items()
                if cell
            }
            rows.append(Row(**known, paper=paper, notes=texts))
    return rows


class Meter:
    """Measures configs, each model once.

    Args:
        settings (dict[str, dict]): The settings of ``model_zoo.yml``.
    """

    def __init__(self, settings: Dict[str, dict]) -> None:
        self.settings = settings
        self.known: Dict[str, Complexity] = {}

    def measure(self, row: Row) -> None:
        """Builds the model of a row's config, counts and fills the row in."""
        if not row.config:
            return
        cfg = Config.fromfile(ROOT / 'configs' / row.config)
        shape = self.settings[row.setting]['shape']
        # How it is trained and loaded makes no difference.
        key = re.sub(
            r"'(drop_path_rate|checkpoint)': [^,}]*", '', f'{cfg.model}{shape}'
        )
        if key not in self.known:
            self.known[key] = count_complexity(build_model(cfg), shape)
        row.cost = self.known[key]
        row.schedule = get_schedule(cfg, row.config)


def get_schedule(cfg: Config, config: str) -> Dict[str, int]:
    """Returns length and batch size of a config's training.

    mmseg's configs have their batch size in their names alone: GPUs x images.
    """
    length = (
        {'Iterations': cfg.train_cfg.max_iters}
        if 'max_iters' in cfg.train_cfg
        else {'Epochs': cfg.train_cfg.max_epochs}
    )
    named = re.search(r'_(\d+)xb(\d+)', config)
    if named:
        batch_size = int(named[1]) * int(named[2])
    else:
        batch_size = cfg.auto_scale_lr.base_batch_size
    return {**length, 'Batch Size': batch_size}


def rounded(value: float, printed: Union[int, float]) -> str:
    """Rounds to the decimals of a printed number."""
    decimals = len(str(printed).partition('.')[2])
    return f'{value:.{decimals}f}'


def is_cut(value: float, printed: Union[int, float]) -> bool:
    """Tells whether a printed number is one that was cut, not rounded."""
    scale = 10 ** len(str(printed).partition('.')[2])
    return math.floor(value * scale) == round(printed * scale)


def list_counts(row: Row, shape: List[int]) -> Iterator[Tuple[str, float]]:
    """Yields what other counters make of a row's FLOPs.

    Args:
        row (Row): A row that has been measured.
        shape (list[int]): Height and width of the image.

    Yields:
        tuple[str, float]: What is counted, nothing for our own count, and the
        number in 1e9.
    """
    _, macs, attention, others = row.cost
    # The scores of 150 classes at the size of the image
    last = 4 * 150 * shape[0] * shape[1] if row.table in ('3', '4') else 0
    yield '', macs / 1e9
    yield 'with norms and resizing', (macs + others) / 1e9
    if last:
        name = "with norms and resizing to the image's size"
        yield name, (macs + others + last) / 1e9
    if attention:
        yield 'without attention products', (macs - attention) / 1e9
        name = 'with norms and resizing, without attention products'
        yield name, (macs - attention + others) / 1e9


def compare(row: Row, shape: List[int]) -> List[str]:
    """Compares the cells of a row with what has been measured.

    Args:
        row (Row): A row.
        shape (list[int]): Height and width of the image.

    Returns:
        list[str]: A phrase for each cell that the measured number does not
        round to, with what other counters make of FLOPs.
    """
    phrases = []
    if row.cost is None:
        return phrases
    value, printed = row.measured['params'], row.paper.get('params')
    if printed is not None and rounded(value, printed) != str(printed):
        cut = ' (cut, not rounded)' if is_cut(value, printed) else ''
        phrases.append(
            f'{value:.2f} M parameters, in the paper {printed}{cut}'
        )
    value, printed = row.measured['flops'], row.paper.get('flops')
    if printed is not None and rounded(value, printed) != str(printed):
        phrase = f'{value:.2f} G multiply-adds, in the paper {printed}'
        counts = list(list_counts(row, shape))
        for end, fits in (
            ('', lambda count: rounded(count, printed) == str(printed)),
            ('cut, not rounded', lambda count: is_cut(count, printed)),
        ):
            found = [(name, count) for name, count in counts if fits(count)]
            if found:
                name, count = found[0]
                how = f'{count:.2f} {name}' if name else ''
                phrase += f' ({", ".join(filter(None, (how, end)))})'
                break
        phrases.append(phrase)
    return phrases


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


def as_text(printed: Union[int, float, None]) -> str:
    """Returns a number as it is printed, or nothing for None."""
    return '' if printed is None else str(printed)


def name_row(row: Row, settings: List[str]) -> str:
    """Names a row, where its section has several settings with the setting."""
    name = row.label or row.row
    if settings.index(row.setting) > 0:
        if row.setting.startswith('ImageNet'):
            name += ', 384x384'
        elif 'MS' in row.setting:
            name += f', {row.setting.split()[-2]}'
        else:
            name = f'{row.setting} {name}'
    return name


def format_section(section: dict, rows: List[Row], zoo: dict) -> str:
    """Formats a section of a page: a table, and remarks on its cells.

    Args:
        section (dict): A section of ``model_zoo.yml``.
        rows (list[Row]): Its rows.
        zoo (dict): All of ``model_zoo.yml``.

    Returns:
        str: Markdown.
    """
    columns = [name for name in zoo['results'] if has_cells(rows, name)]
    costs = {'params': 'Params (M)', 'flops': 'FLOPs (G)'}
    header = ['Model']
    for cost, title in costs.items():
        if has_cells(rows, cost):
            header += [f'{title}, paper', 'measured', 'diff.']
        else:
            header += [f'{title}, measured']
    header += [zoo['results'][name]['title'] for name in columns]
    cells, remarks, notes = [header], [], defaultdict(list)
    for row in rows:
        name = name_row(row, section['settings'])
        link = f'[{name}](../../../configs/{row.config})'
        link = link if row.config else name
        line = [f'**{link}**' if row.family == 'ActiveMLP' else link]
        for cost in costs:
            measured, printed = row.measured.get(cost), row.paper.get(cost)
            text = '' if measured is None else f'{measured:.2f}'
            if not has_cells(rows, cost):
                line.append(text)
                continue
            both = measured is not None and printed is not None
            difference = f'{measured - printed:+.2f}' if both else ''
            line += [as_text(printed), text, difference]
        line += [as_text(row.paper.get(column)) for column in columns]
        cells.append(line)
        shape = zoo['settings'][row.setting]['shape']
        phrases = compare(row, shape)
        if phrases:
            remarks.append(f'- {name}: {"; ".join(phrases)}.\n')
        for note in row.notes:
            notes[note].append(name)
    remarks += [f'- {", ".join(names)}: {n}\n' for n, names in notes.items()]
    title = f'## {section["title"]}\n\n' if 'title' in section else ''
    text = f'{title}{format_table(cells)}'
    if remarks:
        level = '###' if title else '##'
        text += f'\n{level} Cells that differ, and remarks\n\n'
        text += ''.join(remarks)
    return text


def has_cells(rows: List[Row], column: str) -> bool:
    """Tells whether the paper prints a column for any of the rows."""
    return any(column in row.paper for row in rows)


def select(rows: List[Row], page: dict, section: dict) -> List[Row]:
    """Selects the rows of a section, in the paper's order."""
    tables = section.get('tables', page['tables'])
    return [
        row
        for row in rows
        if row.table in tables and row.setting in section['settings']
    ]


def format_page(page: dict, rows: List[Row], zoo: dict) -> str:
    """Formats a page."""
    parts = [INTRODUCTION.format(**page)]
    for section in page['sections']:
        parts.append(format_section(section, select(rows, page, section), zoo))
    return '\n'.join(parts)


def format_overview(zoo: dict) -> str:
    """Formats the page that leads to the others."""
    links = ''.join(
        f'- [{page["title"]}](model_zoo/{page["file"]}.md)\n'
        for page in zoo['pages']
    )
    pictures = ''.join(
        f'![{picture["title"]}](model_zoo/{picture["file"]}.svg)\n\n'
        for picture in zoo['pictures']
    )
    return OVERVIEW.format(pages=links.rstrip(), pictures=pictures)


def format_metafiles(rows: List[Row], zoo: dict) -> Dict[str, str]:
    """Formats a metafile.yml for each folder of configs.

    Args:
        rows (list[Row]): All rows.
        zoo (dict): All of ``model_zoo.yml``.

    Returns:
        dict[str, str]: Texts by paths.
    """
    # A config is one model, however many rows it has; ablations belong to the
    # folder above theirs.
    folders: Dict[str, Dict[str, List[Row]]] = defaultdict(dict)
    for row in rows:
        if row.config:
            folder = row.config.rpartition('/')[0]
            folder = folder.replace('/ablation', '')
            folders[folder].setdefault(row.config, []).append(row)
    files = {}
    for folder, configs in folders.items():
        first = [members[0] for members in configs.values()]
        dataset = zoo['settings'][first[0].setting]['dataset']
        collections = [
            format_collection(family, dataset, zoo)
            for family in dict.fromkeys(row.family for row in first)
        ]
        models = [format_model(members, zoo) for members in configs.values()]
        content = dict(Collections=collections, Models=models)
        files[f'configs/{folder}/metafile.yml'] = yaml.safe_dump(
            content, sort_keys=False, width=79
        )
    return files


def format_collection(family: str, dataset: str, zoo: dict) -> dict:
    """Returns a collection of a metafile.yml: a family on a data set."""
    paper = zoo['families'][family]
    collection = {
        'Name': f'{family} on {dataset}',
        'Metadata': {'Training Data': dataset, 'Architecture': [family]},
        'Paper': {
            'Title': paper['title'],
            'URL': f'https://arxiv.org/abs/{paper["url"]}',
        },
        'README': 'docs/en/model_zoo.md',
    }
    if 'code' in paper:  # the others are the libraries'
        collection['Code'] = {
            'URL': f'mmactive/models/backbones/{paper["code"]}.py',
            'Version': f'v{mmactive.__version__}',
        }
    return collection


def format_model(rows: List[Row], zoo: dict) -> dict:
    """Returns an entry of a metafile.yml for the rows of one config."""
    row = rows[0]
    setting = zoo['settings'][row.setting]
    architecture = [row.label or row.row, setting.get('method')]
    model = {
        'Name': Path(row.config).stem,
        'In Collection': f'{row.family} on {setting["dataset"]}',
        'Config': f'configs/{row.config}',
        'Metadata': {
            'FLOPs': row.cost.macs,
            'Parameters': row.cost.params,
            **row.schedule,
            'Training Data': setting['dataset'],
            'Architecture': [name for name in architecture if name],
        },
    }
    results: Dict[str, dict] = {}
    for member in rows:
        for column, printed in member.paper.items():
            if column in zoo['results']:
                task = zoo['results'][column]['task']
                metric = zoo['results'][column]['metric']
                # The label keeps anybody from taking it for our result.
                results.setdefault(task, {})[f'{metric} (paper)'] = printed
    if results:
        model['Results'] = [
            {'Task': task, 'Dataset': setting['dataset'], 'Metrics': metrics}
            for task, metrics in results.items()
        ]
    return model


def format_json(rows: List[Row], zoo: dict) -> str:
    """Formats the rows of the paper's comparisons as a list of objects."""
    objects = []
    for row in rows:
        if row.table not in COMPARISONS:
            continue
        shape = zoo['settings'][row.setting]['shape']
        phrases = [f'{phrase}.' for phrase in compare(row, shape)]
        content = dict(
            table=row.table,
            setting=row.setting,
            row=row.row,
            config=f'configs/{row.config}' if row.config else None,
            params=row.cost and row.cost.params,
            flops=row.cost and row.cost.macs,
            paper=row.paper,
            note=' '.join(phrases + row.notes),
        )
        objects.append(json.dumps(content))
    return '[\n' + ',\n'.join(objects) + '\n]\n'


def write(path: Path, text: str) -> None:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def main() -> None:
    """Runs the command."""
    args = parse_args()
    logging.disable(logging.INFO)  # what mmengine says of each model
    zoo = load_zoo()
    rows = load_rows(zoo['notes'])
    if args.json:
        rows = [row for row in rows if row.table in COMPARISONS]
    meter = Meter(zoo['settings'])
    for number, row in enumerate(rows, 1):
        meter.measure(row)
        found = '{params:.3f} M, {flops:.3f} G'.format(**row.measured)
        print(
            f'[{number}/{len(rows)}] {row.table}, {row.setting}, {row.row}: '
            f'{found}',
            flush=True,
        )
    if args.json:
        write(args.json, format_json(rows, zoo))
        return
    for page in zoo['pages']:
        path = args.out_dir / 'docs/en/model_zoo' / f'{page["file"]}.md'
        write(path, format_page(page, rows, zoo))
    write(args.out_dir / 'docs/en/model_zoo.md', format_overview(zoo))
    metafiles = format_metafiles(rows, zoo)
    for path, text in metafiles.items():
        write(args.out_dir / path, text)
    index = yaml.safe_dump(dict(Import=list(metafiles)))
    write(args.out_dir / 'model-index.yml', index)


if __name__ == '__main__':
    main()
