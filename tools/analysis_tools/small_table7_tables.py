# Copyright (c) mmactive contributors. All rights reserved.
"""What small_table7.py runs, what came of it, and the tables of that."""

import json
import os
import re
import statistics
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import yaml
from mmengine.config import Config

from mmactive.utils.complexity import build_model, count_complexity
from mmactive.utils.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
SUITES = yaml.safe_load(
    Path(__file__).with_name('small_table7.yml').read_text()
)


class Unit(NamedTuple):
    """One training and test.

    Attributes:
        suite (str): Name of its suite.
        variant (str): Name of the variant.
        seed (int): Seed of the training.
        task (str): Name of the task.
    """

    suite: str
    variant: str
    seed: int
    task: str

    @property
    def config(self) -> Path:
        """The config file."""
        suite = SUITES[self.suite]
        folder, name = suite['variants'][self.variant]['config'].split('/')
        path = suite['tasks'][self.task]['config']
        path = path.format(folder=folder, name=name)
        return ROOT / 'configs' / path

    @property
    def start(self) -> Optional['Unit']:
        """The unit whose classifier this one starts from, if any."""
        first = next(iter(SUITES[self.suite]['tasks']))
        return None if self.task == first else self._replace(task=first)

    def __str__(self) -> str:
        return f'{self.suite}_{self.variant}_seed{self.seed}_{self.task}'


def list_units(
    suite: str,
    variants: Sequence[str],
    seeds: Sequence[int],
    tasks: Sequence[str],
) -> List[Unit]:
    """Lists units in the order in which they run: seed, variant, task."""
    known = SUITES[suite]
    return [
        Unit(suite, variant, seed, task)
        for seed in sorted(set(seeds))
        for variant in known['variants']
        if variant in variants
        for task in known['tasks']
        if task in tasks
    ]


Results = Dict[Unit, dict]


def load_results(folder: Path) -> Results:
    """Loads the results in a folder, in the units' order.

    Raises:
        ValueError: If a file is no result. The error names it.
    """
    results = {}
    for path in folder.glob('*_seed*.json'):
        try:
            result = json.loads(path.read_text())
            unit = Unit(*(result[key] for key in Unit._fields))
            metrics = SUITES[unit.suite]['tasks'][unit.task]['metrics']
            if metrics.keys() != result['metrics'].keys():
                raise KeyError('metrics')
        except (KeyError, TypeError, ValueError) as error:
            message = f'{path}: no result of a unit: {error!r}'
            raise ValueError(message) from error
        results[unit] = result
    seeds = {unit.seed for unit in results}
    return {
        unit: results[unit]
        for name, suite in SUITES.items()
        for unit in list_units(name, suite['variants'], seeds, suite['tasks'])
        if unit in results
    }


def read_metrics(path: Path, task: dict) -> Dict[str, float]:
    """Reads the metrics of a task from what ``tools/test.py`` writes."""
    found = json.loads(path.read_text())
    return {
        name: round(found[key] * scale, 4)
        for name, (key, scale) in task['metrics'].items()
    }


def format_metrics(metrics: Dict[str, float]) -> str:
    """Formats the metrics of a unit."""
    return ', '.join(f'{key} {value:.1f}' for key, value in metrics.items())


def collect_times(results: Results, suite: str) -> Dict[str, List[float]]:
    """Collects by task how many seconds units took that ran in one piece."""
    times = {}
    for unit, result in results.items():
        if unit.suite == suite and result['train_seconds'] is not None:
            seconds = result['train_seconds'] + result['test_seconds']
            times.setdefault(unit.task, []).append(seconds)
    return times


def collect_values(
    results: Results, suite: str, variant: str, metric: str
) -> Dict[int, float]:
    """Collects a variant's results by seed."""
    return {
        unit.seed: result['metrics'][metric]
        for unit, result in results.items()
        if unit.suite == suite
        and unit.variant == variant
        and metric in result['metrics']
    }


def collect_differences(
    results: Results, suite: str, variants: Tuple[str, str], metric: str
) -> List[float]:
    """Collects the differences of two variants, by the seeds of both."""
    first, second = (
        collect_values(results, suite, variant, metric) for variant in variants
    )
    return [first[seed] - second[seed] for seed in first if seed in second]


def list_metrics(suite: dict) -> List[str]:
    """Lists the metrics of a suite's tasks."""
    return [
        name for task in suite['tasks'].values() for name in task['metrics']
    ]


def format_values(
    values: Sequence[float], num_seeds: int, sign: str = ''
) -> str:
    """Formats a mean and the standard deviation of a sample.

    Args:
        values (Sequence[float]): One value a seed.
        num_seeds (int): How many there shall be. Fewer are said.
        sign (str): '+' if numbers are to have a sign.

    Returns:
        str: As in '65.9 ± 0.4', '65.9 (1 seed)' and nothing without values.
    """
    if not values:
        return ''
    text = f'{statistics.mean(values):{sign}.1f}'
    if len(values) > 1:
        text += f' ± {statistics.stdev(values):.1f}'
    if len(values) < num_seeds:
        text += f' ({len(values)} seed{"s" * (len(values) > 1)})'
    return text


def judge(values: Sequence[float], paper: Optional[float]) -> str:
    """Says whether differences over seeds are as the paper's.

    Args:
        values (Sequence[float]): A difference for each seed.
        paper (float, optional): That of the paper.

    Returns:
        str: A verdict. Means within the standard deviation of the sample count
        as no difference.
    """
    if not values:
        return ''
    mean = statistics.mean(values)
    if mean == 0 or (
        len(values) > 1 and abs(mean) <= statistics.stdev(values)
    ):
        return 'within the spread' if len(values) > 1 else 'none'
    if not paper:
        return 'more' if mean > 0 else 'less'
    return "the paper's sign" if mean * paper > 0 else 'the opposite sign'


def write_row(*cells: object) -> str:
    """Formats a row of a table."""
    return f'| {" | ".join(map(str, cells))} |'


def tabulate_values(results: Results, name: str, costs: bool) -> List[str]:
    """Makes the table of a suite's results.

    Args:
        results (dict[Unit, dict]): All results.
        name (str): Name of the suite.
        costs (bool): Whether to count parameters and multiply-adds.

    Returns:
        list[str]: Lines.
    """
    suite = SUITES[name]
    metrics = list_metrics(suite)
    columns = ['parameters (M)', 'multiply-adds (G)'] if costs else []
    lines = [
        write_row('', *columns, *metrics),
        write_row('---', *['--:'] * (len(columns) + len(metrics))),
    ]
    for variant, settings in suite['variants'].items():
        cells = []
        if costs:
            task = next(iter(suite['tasks']))
            cfg = Config.fromfile(Unit(name, variant, 0, task).config)
            cost = count_complexity(build_model(cfg), (224, 224))
            cells = [f'{cost.params / 1e6:.2f}', f'{cost.macs / 1e9:.2f}']
        for metric in metrics:
            values = collect_values(results, name, variant, metric)
            cells.append(format_values([*values.values()], suite['num_seeds']))
        lines.append(write_row(settings['label'], *cells))
    return lines


def tabulate_claims(results: Results, name: str) -> List[str]:
    """Makes the table of the differences that the paper reports."""
    suite = SUITES[name]
    lines = [
        write_row('difference', 'metric', 'paper', 'here', 'here it is'),
        write_row('---', '---', '--:', '--:', '---'),
    ]
    for label, *variants in suite['claims']:
        for metric in list_metrics(suite):
            values = collect_differences(results, name, variants, metric)
            first, second = (
                suite['variants'][variant]['paper'] for variant in variants
            )
            paper = None
            if metric in first:
                paper = round(first[metric] - second[metric], 1)
            lines.append(
                write_row(
                    *(label, metric, '' if paper is None else f'{paper:+.1f}'),
                    format_values(values, suite['num_seeds'], sign='+'),
                    judge(values, paper),
                )
            )
            label = ''
    return lines


def rank(results: Results, name: str) -> str:
    """Says which place the first variant of a suite has, by metric."""
    suite = SUITES[name]
    own, *_ = suite['variants']
    places = []
    for metric in list_metrics(suite):
        means = {
            variant: statistics.mean(values.values())
            for variant in suite['variants']
            if (values := collect_values(results, name, variant, metric))
        }
        if own in means and len(means) > 1:
            place = 1 + sum(mean > means[own] for mean in means.values())
            places.append(f'{place} of {len(means)} in {metric}')
    if not places:
        return ''
    label = suite['variants'][own]['label']
    return f'{label} takes place {", ".join(places)}.'


def summarize(results: Results, name: str) -> str:
    """Says what has been run, where and when."""
    suite = SUITES[name]
    own = {unit: r for unit, r in results.items() if unit.suite == name}
    total = len(suite['variants']) * len(suite['tasks']) * suite['num_seeds']
    seeds = sorted({unit.seed for unit in own})
    minutes = ', '.join(
        f'{task} {statistics.mean(seconds) / 60:.1f}'
        for task, seconds in collect_times(results, name).items()
    )
    parts = {
        'Trainings so far': f'{len(own)} of {total}',
        'seeds so far': ', '.join(map(str, seeds)),
        'machine': '; '.join(sorted({r['machine'] for r in own.values()})),
        'minutes of one': minutes,
        'PyTorch': ', '.join(
            sorted({r['versions']['torch'] for r in own.values()})
        ),
        'dates': ' to '.join(
            sorted({f([r['date'] for r in own.values()]) for f in (min, max)})
        ),
    }
    return '; '.join(f'{key}: {text}' for key, text in parts.items()) + '.'


def draw(results: Results, name: str, path: Path) -> None:
    """Draws the results of a suite, one panel a metric.

    With claims of the paper, it is the differences to the first variant.

    Args:
        results (dict[Unit, dict]): All results.
        name (str): Name of the suite.
        path (Path): File to write.
    """
    import matplotlib

    matplotlib.use('Agg')
    # The same input gives the same file, and text stays text.
    matplotlib.rcParams.update(
        {'svg.hashsalt': 'small table 7', 'svg.fonttype': 'none'}
    )
    import matplotlib.pyplot as plt

    suite = SUITES[name]
    metrics = list_metrics(suite)
    known = suite['variants']
    base, *variants = known
    if not suite.get('claims'):
        variants = [base, *variants]
    figure, all_axes = plt.subplots(
        1,
        len(metrics),
        figsize=(3.1 * len(metrics), 0.42 * len(variants) + 1.5),
        sharey=True,
        layout='constrained',
    )
    for metric, ax in zip(metrics, all_axes):
        for y, variant in enumerate(variants):
            if suite.get('claims'):
                values = collect_differences(
                    results, name, (variant, base), metric
                )
                paper = known[variant]['paper'].get(metric)
                if paper is not None:
                    paper -= known[base]['paper'][metric]
                    ax.plot(
                        *(paper, y, 'D'),
                        mfc='none',
                        color='tab:grey',
                        label="the paper's",
                    )
            else:
                values = collect_values(results, name, variant, metric)
                values = list(values.values())
            if values:
                mean = statistics.mean(values)
                style = dict(color='tab:red', ms=16, mew=2, label='mean')
                ax.plot(mean, y, '|', **style)
                style = dict(color='tab:blue', ms=4, label='a seed')
                ax.plot(values, [y] * len(values), 'o', **style)
        if suite.get('claims'):
            ax.axvline(0, color='black', linewidth=0.5)
        ax.set_title(metric, fontsize=10)
        ax.set_ylim(len(variants) - 0.5, -0.5)
        ax.grid(axis='x', alpha=0.25)
        ax.spines[['top', 'right']].set_visible(False)
    labels = [known[variant]['label'] for variant in variants]
    all_axes[0].set_yticks(range(len(variants)), labels, fontsize=8)
    title = suite['title']
    if suite.get('claims'):
        title += f', differences to {known[base]["label"]!r}'
    figure.suptitle(title, fontsize=11)
    handles, names = all_axes[0].get_legend_handles_labels()
    legend = dict(zip(names, handles))  # one of each
    figure.legend(
        legend.values(),
        legend.keys(),
        loc='outside lower center',
        ncols=len(legend),
        frameon=False,
        fontsize=8,
    )
    figure.savefig(path, metadata={'Date': None})
    plt.close(figure)


def write_report(page: Path, folder: Path) -> None:
    """Writes the tables into a page, and a picture for each suite.

    Args:
        page (Path): The page, with two comments about the place of a suite.
        folder (Path): Folder of the results, where the pictures go, too.

    Raises:
        FileNotFoundError: If there is no such page.
        ValueError: If it has no place for a table. The error names it.
    """
    text = page.read_text()
    places = {}
    for name in SUITES:
        begin, end = f'<!-- {name} -->', f'<!-- end of {name} -->'
        found = re.findall(
            f'{re.escape(begin)}(.*?){re.escape(end)}', text, re.S
        )
        if len(found) != 1:
            raise ValueError(
                f'{page}: expected {begin} and {end} once, but found them '
                f'{len(found)} times'
            )
        places[name] = begin + found[0], begin
    results = load_results(folder)
    for name, (old, begin) in places.items():
        lines = describe_suite(results, name, page, folder)
        text = text.replace(old, '\n\n'.join([begin, *lines, '']))
    write_atomically(str(page), text.encode())
    print(f'wrote {page}')


def describe_suite(
    results: Results, name: str, page: Path, folder: Path
) -> List[str]:
    """Makes the paragraphs of a suite, and its picture.

    Args:
        results (dict[Unit, dict]): All results.
        name (str): Name of the suite.
        page (Path): The page.
        folder (Path): Where the picture goes.

    Returns:
        list[str]: Paragraphs.
    """
    if not any(unit.suite == name for unit in results):
        return ['Nothing has been run so far.']
    suite = SUITES[name]
    parts = [
        summarize(results, name),
        '\n'.join(tabulate_values(results, name, costs=True)),
    ]
    if suite.get('claims'):
        parts.append('\n'.join(tabulate_claims(results, name)))
    elif places := rank(results, name):
        parts.append(places)
    picture = folder / f'{name}.svg'
    draw(results, name, picture)
    link = os.path.relpath(picture, page.parent)
    return [*parts, f'![{suite["title"]}]({link})']
