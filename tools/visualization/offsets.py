# Copyright (c) mmactive contributors. All rights reserved.
"""Draws where the Active Token Mixers of a trained model look.

Writes to the folder OUT:

- histogram.png, offsets.csv: the offsets of the token in the centre, of every
  layer that predicts some, over all images (Fig. 3 of the paper).
- reach.png, reach.csv: how far the layers look, from the first to the last,
  and how far they have come together: the receptive field over depth.
- <image>_<stage>.png: the positions where the token at --token looks, in all
  channel groups of the layers of a stage, over the image.
"""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.runner import load_checkpoint
from mmengine.utils import track_iter_progress
from torch import Tensor, nn

from mmactive.engine.offsets import (
    get_centre,
    group_by_stage,
    plot_positions,
    record_offsets,
    to_picture,
)
from mmactive.engine.options import (
    check_checkpoint,
    iter_datasets,
    load_config,
    make_parser,
)
from mmactive.utils.complexity import build_model

AXES = ('horizontal', 'vertical')
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def parse_args() -> Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument(
        'images', nargs='+', type=Path, help='images, or folders of them'
    )
    parser.add_argument(
        '--out', type=Path, default='offsets', help='folder to write to'
    )
    parser.add_argument(
        '--token',
        nargs=2,
        type=float,
        default=(0.5, 0.5),
        metavar=('X', 'Y'),
        help='place of the token whose positions are drawn, as fractions of '
        "the image's width and height; default: the centre",
    )
    parser.add_argument(
        '--num-drawn',
        type=int,
        default=4,
        help='number of images to draw positions on; the histogram is of all',
    )
    parser.add_argument('--device', default=get_device())
    args = parser.parse_args()
    if not all(0 <= value < 1 for value in args.token):
        parser.error(f'--token must be in [0, 1), but got {args.token}')
    return args


def list_images(paths: Sequence[Path]) -> List[Path]:
    """Lists image files, and those in folders.

    Raises:
        FileNotFoundError: If there is no such file, or no image in a folder.
    """
    images = []
    for path in paths:
        if path.is_dir():
            found = sorted(
                file
                for file in path.rglob('*')
                if file.suffix.lower() in SUFFIXES
            )
            if not found:
                raise FileNotFoundError(f'images: no image in {path}')
            images += found
        elif path.is_file():
            images.append(path)
        else:
            raise FileNotFoundError(f'images: there is no {path}')
    return images


def build_pipeline(cfg: Config) -> Compose:
    """Builds the pipeline of a test without the annotations."""
    dataset = next(iter_datasets(cfg.test_dataloader.dataset))
    pipeline = [
        step for step in dataset.pipeline if 'Annotations' not in str(step)
    ]
    return Compose(pipeline)


def compute_offsets(
    model: nn.Module, pipeline: Compose, image: Path
) -> Tuple[np.ndarray, Dict[str, Tensor]]:
    """Runs the backbone on an image.

    Returns:
        tuple: The image (H, W, 3) as the backbone saw it, in RGB from 0 to 1,
        and the offsets of its blocks by their names.
    """
    data = pipeline(dict(img_path=str(image), img_id=0))
    data = model.data_preprocessor(pseudo_collate([data]), False)
    inputs = data['inputs']
    with torch.no_grad(), record_offsets(model) as offsets:
        model.backbone(inputs)
    pixels = to_picture(inputs[0], model.data_preprocessor)
    names = {name: name.partition('backbone.')[2] for name in offsets}
    return pixels, {names[key]: offsets[key] for key in offsets}


def describe(values: np.ndarray) -> Dict[str, float]:
    """Returns statistics of offsets in tokens."""
    distance = np.abs(values)
    return dict(
        count=values.size,
        mean=values.mean(),
        std=values.std(),
        min=values.min(),
        max=values.max(),
        mean_distance=distance.mean(),
        distance_95=np.percentile(distance, 95),
    )


def write_csv(path: Path, rows: List[dict]) -> None:
    """Writes rows of equal keys."""
    with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    key: f'{value:.4g}' if isinstance(value, float) else value
                    for key, value in row.items()
                }
            )


def draw_histogram(path: Path, values: Dict[str, Dict[str, list]]) -> None:
    """Draws the histogram of the centre's offsets for each layer."""
    layers = list(values)
    figure, all_axes = plt.subplots(
        len(layers),
        2,
        figsize=(9, 1.1 * len(layers) + 1),
        squeeze=False,
        sharex='col',
        layout='constrained',
    )
    for layer, row in zip(layers, all_axes):
        for axis, ax in zip(AXES, row):
            data = np.concatenate(values[layer][axis])
            bins = min(101, max(11, int(np.ptp(data)) * 2 + 1))
            ax.hist(data, bins=bins, color='tab:blue', log=True)
            ax.axvline(0, color='black', linewidth=0.5)
            ax.tick_params(which='both', labelsize=7)
        row[0].set_ylabel(
            layer.replace('stages.', 'stage ').replace('.blocks.', ', block '),
            rotation=0,
            ha='right',
            va='center',
            fontsize=8,
        )
    for axis, ax, last in zip(AXES, all_axes[0], all_axes[-1]):
        ax.set_title(f'{axis} offsets of the centre', fontsize=9)
        last.set_xlabel('tokens')
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_reach(path: Path, rows: List[dict]) -> None:
    """Draws how far each layer looks, and all up to it."""
    figure, ax = plt.subplots(figsize=(7, 4), layout='constrained')
    depth = np.arange(1, len(rows) + 1)
    for axis, color in zip(AXES, ('tab:blue', 'tab:orange')):
        for key, style, label in (
            ('mean', ':', 'one layer, mean'),
            ('furthest', '--', 'one layer, furthest channel'),
            ('receptive_field', '-', 'all layers up to here'),
        ):
            ax.plot(
                depth,
                [row[f'{axis}_{key}'] for row in rows],
                style,
                color=color,
                label=f'{axis}, {label}',
            )
    stages = [row['layer'].split('.')[1] for row in rows]
    for i in range(1, len(rows)):
        if stages[i] != stages[i - 1]:
            ax.axvline(i + 0.5, color='grey', linewidth=0.5)
    ax.set_xlabel('block (lines: stages)')
    ax.set_ylabel('distance (fraction of the side)')
    ax.set_yscale('log')
    ax.legend(fontsize=7)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_positions(
    out: Path,
    name: str,
    image: np.ndarray,
    offsets: Dict[str, Tensor],
    token: Sequence[float],
) -> None:
    """Draws where one token looks in the layers of each stage."""
    for stage, layers in group_by_stage(offsets).items():
        figure = plot_positions(image, layers, token)
        figure.suptitle(
            f'{name}: where the starred token looks, stage {stage}'
        )
        figure.savefig(out / f'{name}_stage{stage}.png', dpi=150)


class Statistics:
    """Collects offsets over images.

    Attributes:
        centre (dict): By layer and axis, the offsets of the token in the
            centre, an array of each image.
        distances (dict): By layer and axis, of each image the mean distance
            and that of the furthest channel, averaged over the tokens, as
            fractions of the side.
    """

    def __init__(self) -> None:
        self.centre: Dict[str, Dict[str, list]] = {}
        self.distances: Dict[str, Dict[str, list]] = {}

    def add(self, offsets: Dict[str, Tensor]) -> None:
        """Adds the offsets of an image by layer."""
        for layer, offset in offsets.items():
            centre = self.centre.setdefault(layer, {})
            distances = self.distances.setdefault(layer, {})
            parts = offset.float().chunk(2, dim=-1)
            sides = offset.size(2), offset.size(1)
            for axis, part, side in zip(AXES, parts, sides):
                values = get_centre(offset, axis).flatten()
                centre.setdefault(axis, []).append(
                    values.float().cpu().numpy()
                )
                distance = part.abs() / side
                distances.setdefault(axis, []).append(
                    (
                        float(distance.mean()),
                        float(distance.amax(dim=-1).mean()),
                    )
                )

    def list_offsets(self) -> List[dict]:
        """Lists statistics of the centre's offsets, a row a layer and axis."""
        return [
            dict(layer=layer, axis=axis, **describe(np.concatenate(values)))
            for layer, by_axis in self.centre.items()
            for axis, values in by_axis.items()
        ]

    def list_reach(self) -> List[dict]:
        """Lists how far the layers look, a row a layer.

        The receptive field is how far what a token knows can have come: the
        sum of the furthest channels' distances up to a layer, at most the
        whole side.
        """
        rows = []
        field = dict.fromkeys(AXES, 0.0)
        for layer, by_axis in self.distances.items():
            row = dict(layer=layer)
            for axis, values in by_axis.items():
                mean, furthest = np.mean(values, axis=0)
                field[axis] = min(1.0, field[axis] + furthest)
                row[f'{axis}_mean'] = float(mean)
                row[f'{axis}_furthest'] = float(furthest)
                row[f'{axis}_receptive_field'] = field[axis]
            rows.append(row)
        return rows


def iter_predicting(model: nn.Module) -> Iterator[str]:
    """Yields the names of the backbone's blocks that predict offsets."""
    for name, module in model.backbone.named_modules():
        if getattr(module, 'offset_layer', None) is not None:
            yield name


def main() -> None:
    """Runs the command."""
    args = parse_args()
    check_checkpoint('checkpoint', args.checkpoint)
    images = list_images(args.images)
    cfg = load_config(args)
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = build_model(cfg, 'cpu')
    load_checkpoint(model, args.checkpoint, map_location='cpu')
    model.to(args.device)
    pipeline = build_pipeline(cfg)

    args.out.mkdir(parents=True, exist_ok=True)
    statistics = Statistics()
    for i, path in enumerate(track_iter_progress(images)):
        image, offsets = compute_offsets(model, pipeline, path)
        statistics.add(offsets)
        if i < args.num_drawn:
            draw_positions(args.out, path.stem, image, offsets, args.token)
    predicting = set(iter_predicting(model))
    rows = statistics.list_offsets()
    write_csv(args.out / 'offsets.csv', rows)
    centre = {
        layer: values
        for layer, values in statistics.centre.items()
        if layer in predicting
    }
    draw_histogram(args.out / 'histogram.png', centre)
    rows = statistics.list_reach()
    write_csv(args.out / 'reach.csv', rows)
    draw_reach(args.out / 'reach.png', rows)
    print(f'\nWrote to {args.out}')


if __name__ == '__main__':
    main()
