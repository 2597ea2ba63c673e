# Copyright (c) mmactive contributors. All rights reserved.
"""Draws predictions of a model and the truth on one sheet.

Classification: the test images that the model is least certain of, with the
wrong predictions in red. Detection and segmentation: the first test images,
the annotation on the left and the prediction on the right.
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
from matplotlib.axes import Axes
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData
from mmengine.visualization import Visualizer

from mmactive.engine.launch import build_runner, set_dataloader_defaults
from mmactive.engine.options import (
    check_checkpoint,
    check_dataloader,
    load_config,
    make_parser,
)

MIN_SIZE = 384
"""Shorter side in pixels to which images are enlarged for drawing on them."""
MIN_SCORE = 0.5
"""Least score of the detections that are drawn."""


def parse_args() -> Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__)
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


def enlarge(sample: BaseDataElement, factor: int) -> BaseDataElement:
    """Scales what a data sample of mmdet or mmseg says about an image.

    Args:
        sample (BaseDataElement): Annotations and predictions in the pixels of
            the original image.
        factor (int): How many times to repeat each pixel in both directions.

    Returns:
        BaseDataElement: A data sample with the scaled copies.
    """

    def repeat(pixels: torch.Tensor) -> torch.Tensor:
        for dim in (-2, -1):
            pixels = pixels.repeat_interleave(factor, dim=dim)
        return pixels

    scaled = type(sample)()
    for key in ('gt_instances', 'pred_instances'):
        if key in sample:
            instances = sample.get(key)
            scaled.set_data({key: InstanceData()})
            for name, value in instances.items():
                if name == 'bboxes':
                    value = value * factor
                elif name == 'masks':
                    if not isinstance(value, torch.Tensor):
                        value = value.to_tensor(torch.bool, 'cpu')
                    value = repeat(value)
                scaled.get(key).set_data({name: value})
    for key in ('gt_sem_seg', 'pred_sem_seg'):
        if key in sample:
            pixels = sample.get(key)
            data = repeat(pixels.data)
            scaled.set_data({key: type(pixels)(data=data)})
    return scaled


def draw_pair(visualizer: Visualizer, sample: BaseDataElement) -> np.ndarray:
    """Draws the annotation of an image and, to its right, the prediction.

    Args:
        visualizer (Visualizer): That of mmdet or mmseg.
        sample (BaseDataElement): The data sample of a test image.

    Returns:
        np.ndarray: RGB of shape (H, 2 * W, 3), uint8.
    """
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    factor = max(1, round(MIN_SIZE / min(image.shape[:2])))
    size = (image.shape[1] * factor, image.shape[0] * factor)
    image = mmcv.imresize(image, size, interpolation='bicubic')
    options = {}
    if 'pred_instances' in sample:
        options.update(pred_score_thr=MIN_SCORE)
    with TemporaryDirectory() as folder:
        out_file = f'{folder}/pair.png'
        visualizer.add_datasample(
            'pair',
            image,
            enlarge(sample, factor),
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


def draw_class(ax: Axes, sample: BaseDataElement, classes: list[str]) -> None:
    """Draws an image under its predicted and its true class.

    Args:
        ax (Axes): Where to draw.
        sample (BaseDataElement): The data sample of mmpretrain.
        classes (list[str]): Names of the classes.
    """
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    ax.imshow(image, interpolation='bicubic')
    truth, label = sample.gt_label.item(), sample.pred_label.item()
    ax.set_title(
        f'{classes[label]} ({sample.pred_score[label]:.0%})\n'
        f'true: {classes[truth]}',
        color='green' if label == truth else 'red',
        weight='normal' if label == truth else 'bold',
        fontsize=9,
    )


def main() -> None:
    """Runs the command."""
    args = parse_args()
    check_checkpoint('checkpoint', args.checkpoint)
    cfg = load_config(args)
    check_dataloader(cfg, 'test_dataloader')
    set_dataloader_defaults(cfg)
    runner = build_runner(cfg)
    runner.load_checkpoint(args.checkpoint)

    samples = predict(runner)
    if cfg.default_scope == 'mmpretrain':
        samples = sorted(samples, key=lambda sample: sample.pred_score.max())
        width, height = 1.2, 1.6
    else:
        width, height = 4.0, 2.1
    samples = list(islice(samples, args.num))

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
    for ax, sample in zip(axes.flat, samples):
        if cfg.default_scope == 'mmpretrain':
            draw_class(ax, sample, runner.visualizer.dataset_meta['classes'])
        else:
            ax.imshow(draw_pair(runner.visualizer, sample))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=150)
    print(f'{args.out}: {len(samples)} images')


if __name__ == '__main__':
    main()
