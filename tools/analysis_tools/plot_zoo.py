# Copyright (c) mmactive contributors. All rights reserved.
"""Draws the paper's Figure 1 for all of its tables, from the metafiles.

Accuracy over multiply-adds; a circle's area is the number of parameters, and
its colour the family. The sizes of a model are joined in the order of their
multiply-adds. Needs matplotlib.

With ``--speed``, accuracy over measured images per second instead, and a
table:

    python tools/benchmarks/benchmark_models.py --configs A.py B.py
    python tools/analysis_tools/plot_zoo.py --speed results/models_cpu.json
"""

import argparse
import colorsys
import json
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
# Positions of a label around its circle that are tried, in this order: angles
# as unit vectors, and distances from the rim in points.
DIRECTIONS = (
    *((0, 1), (0, -1), (1, 0), (-1, 0)),
    *((0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7)),
)
DISTANCES = (2, 8, 16, 26)


class Point(NamedTuple):
    """A circle.

    Attributes:
        family (str): Family of the backbone.
        name (str): Name in the paper.
        cost (float): Multiply-adds in 1e9, or images per second.
        params (float): Parameters in millions.
        result (float): What the paper reports.
    """

    family: str
    name: str
    cost: float
    params: float
    result: float


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--speed',
        type=Path,
        metavar='FILE',
        help='results of benchmark_models.py --configs; the picture goes '
        'beside them',
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=ROOT / 'docs/en/model_zoo',
        help='folder to write PNG and SVG files to (default: %(default)s)',
    )
    return parser.parse_args()


def load_models() -> List[dict]:
    """Loads the entries of all metafiles that the model index lists."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    return [
        model
        for path in index['Import']
        for model in yaml.safe_load((ROOT / path).read_text())['Models']
    ]


def select(models: List[dict], picture: dict) -> List[Point]:
    """Selects the points of a picture.

    Args:
        models (list[dict]): Entries of metafiles.
        picture (dict): A picture of ``model_zoo.yml``: ``name`` is a part of
            the configs' names, ``metric`` what is drawn, ``max_flops`` and
            ``min_result`` where the axes end.

    Returns:
        list[Point]: The points, by multiply-adds.
    """
    points = []
    for model in models:
        metadata = model['Metadata']
        flops = metadata['FLOPs'] / 1e9
        metrics = {
            name: value
            for result in model.get('Results', ())
            for name, value in result['Metrics'].items()
        }
        value = metrics.get(f'{picture["metric"]} (paper)')
        named = all(part in model['Name'] for part in picture['names'])
        left_out = any(p in model['Config'] for p in ('ablation', '384px'))
        if value is None or not named or left_out:
            continue
        if flops > picture.get('max_flops', flops):
            continue
        if value < picture.get('min_result', value):
            continue
        points.append(
            Point(
                model['In Collection'].partition(' on ')[0],
                metadata['Architecture'][0],
                flops,
                metadata['Parameters'] / 1e6,
                value,
            )
        )
    return sorted(points, key=lambda point: point.cost)


def choose_colors(models: List[dict]) -> Dict[str, tuple]:
    """Gives each family a colour, the same in all pictures.

    ActiveMLP's is red, which no other has.
    """
    counts = Counter(m['In Collection'].partition(' on ')[0] for m in models)
    del counts['ActiveMLP']
    colors = {'ActiveMLP': (0.85, 0.05, 0.1)}
    # Those that are seen most are the easiest to tell apart.
    for i, (name, _) in enumerate(counts.most_common()):
        # Steps of the golden ratio spread hues; those about red are left out.
        hue = 0.08 + 0.82 * (i * 0.618034 % 1)
        colors[name] = colorsys.hls_to_rgb(hue, (0.33, 0.48)[i % 2], 0.8)
    return colors


def overlaps(box: Sequence[float], others: List[Sequence[float]]) -> float:
    """Returns the area that a box (x0, y0, x1, y1) shares with others."""
    area = 0.0
    for other in others:
        width = min(box[2], other[2]) - max(box[0], other[0])
        height = min(box[3], other[3]) - max(box[1], other[1])
        area += max(width, 0) * max(height, 0)
    return area


def place_labels(
    centers: List[Tuple[float, float]],
    radii: List[float],
    sizes: List[Tuple[float, float]],
    frame: Sequence[float],
) -> List[Tuple[float, float]]:
    """Places labels beside their circles, clear of circles and each other.

    Args:
        centers (list[tuple[float, float]]): Of the circles.
        radii (list[float]): Of the circles.
        sizes (list[tuple[float, float]]): Widths and heights of the labels.
        frame (Sequence[float]): Box (x0, y0, x1, y1) to stay in.

    Returns:
        list[tuple[float, float]]: Centres of the labels.
    """
    discs = [
        (x - 0.8 * r, y - 0.8 * r, x + 0.8 * r, y + 0.8 * r)
        for (x, y), r in zip(centers, radii)
    ]
    placed, boxes = {}, []
    # Where it is crowded there is the least choice: those go first.
    crowd = [
        sum((x - u) ** 2 + (y - v) ** 2 < 90**2 for u, v in centers)
        for x, y in centers
    ]
    for i in sorted(range(len(centers)), key=lambda i: -crowd[i]):
        (x, y), (width, height) = centers[i], sizes[i]
        best = None
        for distance, (dx, dy) in product(DISTANCES, DIRECTIONS):
            u = x + dx * (radii[i] + distance + width / 2)
            v = y + dy * (radii[i] + distance + height / 2)
            box = (
                u - width / 2,
                v - height / 2,
                u + width / 2,
                v + height / 2,
            )
            outside = width * height - overlaps(box, [frame])
            cost = overlaps(box, boxes) * 4 + overlaps(box, discs)
            cost += 20 * outside + distance
            if best is None or cost < best[0]:
                best = cost, (u, v), box
        placed[i] = best[1]
        boxes.append(best[2])
    return [placed[i] for i in range(len(centers))]


def draw(points: List[Point], picture: dict, colors: dict, path: Path) -> None:
    """Draws a picture.

    Args:
        points (list[Point]): The points.
        picture (dict): A picture of ``model_zoo.yml``.
        colors (dict[str, tuple]): Colours of the families.
        path (Path): File to write, without a suffix.
    """
    import matplotlib

    matplotlib.use('Agg')
    # The same input gives the same file, and text stays text.
    matplotlib.rcParams.update(
        {'svg.hashsalt': 'model zoo', 'svg.fonttype': 'none'}
    )
    import matplotlib.pyplot as plt
    from matplotlib.patheffects import withStroke

    figure, axis = plt.subplots(figsize=(10, 7), layout='constrained')
    series = defaultdict(list)
    for point in points:
        # Twins and TwinsP, GFNet and GFNet-H are one family, but two series.
        name = point.name.rpartition('-')[0] or point.family
        series[point.family, name].append(point)
    # In points^2, as matplotlib takes areas
    scale = 900 / max(point.params for point in points)
    for (family, _), members in series.items():
        ours = family == 'ActiveMLP'
        axis.plot(
            [point.cost for point in members],
            [point.result for point in members],
            color=colors[family],
            linewidth=2.2 if ours else 1,
            alpha=0.9 if ours else 0.5,
            zorder=3 if ours else 1,
        )
        axis.scatter(
            [point.cost for point in members],
            [point.result for point in members],
            [scale * point.params for point in members],
            color=colors[family],
            alpha=1 if ours else 0.55,
            edgecolor='white',
            zorder=4 if ours else 2,
        )
    axis.margins(0.09)
    axis.set(
        xlabel=picture['xlabel'],
        ylabel=picture['ylabel'],
        title=picture['title'],
    )
    axis.grid(alpha=0.25)
    axis.spines[['top', 'right']].set_visible(False)

    figure.canvas.draw()  # so that sizes on the page are known
    unit = figure.dpi / 72
    labels = [
        axis.text(
            *(point.cost, point.result, point.name),
            ha='center',
            va='center',
            fontsize=7.5,
            fontweight='bold' if point.family == 'ActiveMLP' else 'normal',
            color=darken(colors[point.family]),
            path_effects=[withStroke(linewidth=2, foreground='white')],
            zorder=5,
        )
        for point in points
    ]
    boxes = [label.get_window_extent() for label in labels]
    to_page = axis.transData.transform
    centers = place_labels(
        [tuple(to_page((point.cost, point.result))) for point in points],
        [(scale * p.params / 3.1416) ** 0.5 * unit for p in points],
        [(box.width + 2, box.height) for box in boxes],
        axis.get_window_extent().extents,
    )
    for label, center in zip(labels, centers):
        label.set_position(axis.transData.inverted().transform(center))
    sizes = [
        s for s in (10, 25, 50, 100) if s <= max(p.params for p in points)
    ]
    handles = [
        axis.scatter(
            [], [], scale * size, color='lightgray', label=f'{size} M'
        )
        for size in sizes
    ]
    axis.add_artist(
        axis.legend(
            handles=handles,
            title='parameters',
            loc='lower right',
            frameon=False,
            labelspacing=1.7,
            handletextpad=1.4,
            borderpad=1,
        )
    )
    figure.savefig(path.with_suffix('.png'), dpi=130)
    for label in labels:
        label.set_path_effects([])  # which would make paths of the text
    figure.savefig(path.with_suffix('.svg'), metadata={'Date': None})
    plt.close(figure)
    print(f'wrote {path}.png and .svg: {len(points)} models')


def darken(color: Tuple[float, float, float]) -> Tuple[float, ...]:
    """Darkens a colour so that text in it can be read on white."""
    return tuple(0.65 * value for value in color)


def draw_speed(models: List[dict], path: Path) -> None:
    """Draws accuracy over speed, and prints both as a table.

    Args:
        models (list[dict]): Entries of metafiles.
        path (Path): Results of ``benchmark_models.py --configs`` on
            classifiers.
    """
    results = json.loads(path.read_text())['results']
    speeds = defaultdict(dict)
    for result in results:
        if result['measure'] in ('inference', 'training'):
            speed = result['images_per_second']
            speeds[result['variant']][result['measure']] = speed
    known = {model['Name']: model for model in models}
    points = {
        point.name: point
        for name in speeds
        for point in select(
            [known[name]], dict(names=[name], metric='Top 1 Accuracy')
        )
    }
    print('| model | G | M | top-1, paper | inference | training |')
    print('| --- | --: | --: | --: | --: | --: |')
    drawn = []
    for (name, point), speed in zip(points.items(), speeds.values()):
        columns = [
            *(f'{point.cost:.1f}', f'{point.params:.1f}', str(point.result)),
            *(f'{speed[mode]:.1f}' for mode in ('inference', 'training')),
        ]
        print(f'| {name} | {" | ".join(columns)} |')
        drawn.append(point._replace(cost=speed['inference']))
    result = results[0]
    picture = dict(
        title='ImageNet-1K, accuracy of the paper over measured speed',
        xlabel='images per second, inference, batch {batch_size}, {dtype}, '
        '{resolution}x{resolution}'.format(**result),
        ylabel='top-1 accuracy (%)',
    )
    drawn = sorted(drawn, key=lambda point: point.cost)
    draw(drawn, picture, choose_colors(models), path.with_suffix(''))


def main() -> None:
    """Runs the command."""
    args = parse_args()
    models = load_models()
    if args.speed:
        draw_speed(models, args.speed)
        return
    args.out_dir.mkdir(parents=True, exist_ok=True)
    colors = choose_colors(models)
    zoo = yaml.safe_load(Path(__file__).with_name('model_zoo.yml').read_text())
    for picture in zoo['pictures']:
        points = select(models, picture)
        picture['xlabel'] = f'multiply-adds (G), {picture["shape"]}'
        draw(points, picture, colors, args.out_dir / picture['file'])


if __name__ == '__main__':
    main()
