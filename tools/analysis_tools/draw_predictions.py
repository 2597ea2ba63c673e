# Copyright (c) mmactive contributors. All rights reserved.
"""Draws predictions of a model and the truth on one sheet.

Classification: the test images that the model is least certain of, with the
wrong predictions below red. Detection and segmentation: the first test images,
the ground truth on the left and the prediction on the right.
"""

from argparse import Namespace
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import mmcv
import numpy as np
import torch
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from mmactive.engine.launch import build_runner, set_dataloader_defaults
from mmactive.engine.options import (
    check_checkpoint,
    check_dataloader,
    load_runner_config,
    make_runner_parser,
)
from mmactive.engine.pictures import enlarge

MIN_SIZE = 384
"""Shorter side in pixels to which images are enlarged for drawing on them."""
MIN_SCORE = 0.5
"""Least score of the detections that are drawn."""


def parse_args() -> Namespace:
    """Parses the command line."""
    parser = make_runner_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('out', type=Path, help='picture to write')
    parser.add_argument(
        '--num', type=int, default=12, help='number of images to draw'
    )
    parser.add_argument(
        '--columns', type=int, default=4, help='number of images in a row'
    )
    args = parser.parse_args()
    for name in ('num', 'columns'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1')
    if args.out.suffix not in ('.png', '.jpg', '.pdf', '.svg'):
        parser.error(f'out must be a .png, .jpg, .pdf or .svg, not {args.out}')
    return args


def draw(visualizer: Visualizer, sample: BaseDataElement) -> np.ndarray:
    """Draws the truth and the prediction of an image.

    Args:
        visualizer (Visualizer): That of the library.
        sample (BaseDataElement): The data sample of a test image.

    Returns:
        np.ndarray: RGB of shape (H, W, 3), uint8.
    """
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    add = getattr(visualizer, 'visualize_cls', None)
    options = {}
    if add is None:
        add = visualizer.add_datasample
        factor = max(1, round(MIN_SIZE / min(image.shape[:2])))
        image, sample = enlarge(image, sample, factor)
        if 'pred_instances' in sample:
            options.update(pred_score_thr=MIN_SCORE)
    with TemporaryDirectory() as folder:
        out_file = f'{folder}/picture.png'
        add(
            name='picture',
            image=image,
            data_sample=sample,
            out_file=out_file,
            **options,
        )
        return mmcv.imread(out_file, channel_order='rgb')


def predict(runner: Runner) -> Iterator[BaseDataElement]:
    """Yields the test images' data samples with the predictions added."""
    runner.model.eval()
    for batch in runner.test_loop.dataloader:
        with torch.no_grad():
            outputs = runner.model.test_step(batch)
        for sample in outputs:
            yield sample.cpu()


def main() -> None:
    """Runs the command."""
    args = parse_args()
    check_checkpoint('checkpoint', args.checkpoint)
    cfg = load_runner_config(args)
    check_dataloader(cfg, 'test_dataloader')
    set_dataloader_defaults(cfg)
    runner = build_runner(cfg)
    runner.load_checkpoint(args.checkpoint)

    samples = predict(runner)
    if cfg.default_scope == 'mmpretrain':
        samples = sorted(samples, key=lambda sample: sample.pred_score.max())
        width = 1.3
    else:
        width = 4.0
    samples = list(islice(samples, args.num))
    pictures = [draw(runner.visualizer, sample) for sample in samples]

    height = width * max(p.shape[0] / p.shape[1] for p in pictures)
    rows = -(-len(samples) // args.columns)
    figure, axes = plt.subplots(
        rows,
        args.columns,
        figsize=(width * args.columns, height * rows),
        squeeze=False,
        layout='constrained',
    )
    for ax in axes.flat:
        ax.axis('off')
    for ax, picture in zip(axes.flat, pictures):
        ax.imshow(picture)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=150)
    print(f'{args.out}: {len(samples)} images')


if __name__ == '__main__':
    main()
