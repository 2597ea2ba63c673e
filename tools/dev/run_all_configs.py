# Copyright (c) mmactive contributors. All rights reserved.
"""Trains every config for an iteration and tests it on an image.

Runs ``tools/train.py`` and ``tools/test.py`` on COCO images, as a user would,
with no more than the data root, the batch size, the image size and the length
set on the command line, and prints a table. The ImageNet checkpoints that the
detectors and segmentors start from are written first, with random weights.

DATA holds ``coco128/`` (COCO's format: ``annotations/``, ``train2017/``,
``val2017/``) and ``ade_layout/`` (ADE20K's: ``images/``, ``annotations/``).
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmactive.engine.options import get_pretrained

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ('imagenet', 'coco', 'ade20k')


class Result(NamedTuple):
    """What has become of a config.

    Attributes:
        config (str): Path from the configs folder.
        loss (float): Loss of the training iteration.
        train_s (float): Duration of training, start included, in seconds.
        test_s (float): Duration of testing, start included, in seconds.
        metrics (dict[str, float]): Metrics of the test.
        error (str): Last line that a failed command printed, or nothing.
    """

    config: str
    loss: float
    train_s: float
    test_s: float
    metrics: Dict[str, float]
    error: str


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'pattern',
        nargs='*',
        default=[''],
        help='run configs whose path contains one of these (default: all)',
    )
    parser.add_argument(
        '--data',
        type=Path,
        default=os.getenv('MMACTIVE_TEST_DATA', ROOT.parent / 'shared/data'),
        help='default: MMACTIVE_TEST_DATA or ../shared/data',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=128,
        help='shorter side of the images in pixels (default: %(default)s)',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='how many to run at a time (default: %(default)s)',
    )
    args = parser.parse_args()
    for name in ('coco128', 'ade_layout'):
        if not (args.data / name).is_dir():
            parser.error(f'--data: there is no folder {args.data / name}')
    return args


def list_configs(patterns: List[str]) -> List[str]:
    """Lists configs as paths from the configs folder."""
    configs = ROOT / 'configs'
    paths = (
        str(path.relative_to(configs))
        for folder in FOLDERS
        for path in sorted((configs / folder).rglob('*.py'))
    )
    return [p for p in paths if any(pattern in p for pattern in patterns)]


def write_classes(data: Path, folder: Path) -> None:
    """Links COCO images into a folder as ImageNet is laid out."""
    for split, count in (('train', 2), ('val', 1)):
        images = sorted((data / 'coco128' / f'{split}2017').iterdir())
        for i in range(1000):
            (folder / split / f'{i:03}').mkdir(parents=True)
        for i, image in enumerate(images[:count]):
            (folder / split / f'{i:03}' / image.name).symlink_to(image)


def write_checkpoint(pretrained: Path) -> None:
    """Writes the checkpoint of a classifier with random weights."""
    variant = re.fullmatch(r'activemlp-(.+)_in1k', pretrained.stem).group(1)
    (path,) = (ROOT / 'configs' / 'imagenet').rglob(
        f'activemlp-{variant}_8xb128_in1k.py'
    )
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    backbone = MODELS.build(cfg.model.backbone)
    weights = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    weights['head.fc.bias'] = torch.zeros(1000)  # to be dropped
    torch.save(dict(state_dict=weights), pretrained)


def list_options(config: str, args: argparse.Namespace) -> List[str]:
    """Lists the options for a small image and a single iteration."""
    size = args.size
    common = [
        'default_hooks.logger.interval=1',
        # Saving the optimizer takes as long as training.
        'default_hooks.checkpoint.save_optimizer=False',
    ]
    train, test = 'train_dataloader', 'test_dataloader'
    if config.startswith('imagenet'):
        return [
            *common,
            'data_root=classes',
            f'{train}.batch_size=2',
            f'{train}.dataset.pipeline.1.scale={size}',
            f'{test}.dataset.pipeline.1.scale={size}',
            f'{test}.dataset.pipeline.2.crop_size={size}',
            'train_cfg.max_epochs=1',
        ]
    if config.startswith('coco'):
        scale = f'({size * 5 // 3},{size})'
        resize = f'scales=[{scale}]' if '_ms-' in config else f'scale={scale}'
        return [
            *common,
            f'data_root={args.data}/coco128',
            f'{train}.batch_size=1',
            f'{train}.dataset.pipeline.2.{resize}',
            f'{test}.dataset.pipeline.1.scale={scale}',
            f'{train}.dataset.indices=1',
            f'{test}.dataset.indices=1',
            'train_cfg.max_epochs=1',
        ]
    return [
        *common,
        f'data_root={args.data}/ade_layout',
        # UperNet normalizes maps of one pixel over the batch.
        f'{train}.batch_size=2',
        f'{train}.dataset.pipeline.2.scale=({size * 4},{size})',
        f'{train}.dataset.pipeline.3.crop_size=({size},{size})',
        f'model.data_preprocessor.size=({size},{size})',
        f'{test}.dataset.pipeline.1.scale=({size * 4},{size})',
        f'{test}.dataset.indices=1',
        'train_cfg.max_iters=1',
    ]


def run(tool: str, arguments: List[str], folder: Path) -> str:
    """Runs a tool, and returns the last line it printed if it failed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / tool), *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode == 0:
        return ''
    lines = done.stdout.strip().splitlines() or [f'exit {done.returncode}']
    return lines[-1]


def run_config(config: str, folder: Path, args: argparse.Namespace) -> Result:
    """Trains and tests a config.

    Args:
        config (str): Path from the configs folder.
        folder (Path): Folder to work in, which has ``checkpoints/``.
        args (argparse.Namespace): Parsed arguments.

    Returns:
        Result: What has become of it.
    """
    path = str(ROOT / 'configs' / config)
    with tempfile.TemporaryDirectory(dir=folder) as work_dir:
        work = Path(work_dir)
        options = ['--work-dir', work_dir, '--cfg-options']
        options += list_options(config, args)
        loss, test_s, metrics = math.nan, 0.0, {}
        start = time.time()
        error = run('train.py', [path, '--no-validate', *options], folder)
        train_s = time.time() - start
        if not error:
            log = next(work.glob('*/vis_data/scalars.json')).read_text()
            loss = json.loads(log.splitlines()[0])['loss']
            checkpoint = (work / 'last_checkpoint').read_text()
            out = work / 'metrics.json'
            start = time.time()
            arguments = [path, checkpoint, '--out-item', 'metrics']
            arguments += ['--out', str(out), *options]
            error = run('test.py', arguments, folder)
            test_s = time.time() - start
            if not error:
                metrics = json.loads(out.read_text())
    if not error and not math.isfinite(loss):
        error = f'the loss is {loss}'
    return Result(config, loss, train_s, test_s, metrics, error)


def format_row(result: Result) -> str:
    """Formats a row of the table."""
    # mmdet has no metrics where there are no detections.
    outcome = result.error or ', '.join(list(result.metrics)[:2]) or '-'
    return (
        f'| {result.config} | {result.loss:.2f} | {result.train_s:.0f} | '
        f'{result.test_s:.0f} | {"failed" if result.error else "passed"} | '
        f'{outcome} |'
    )


def main() -> None:
    """Runs the command."""
    args = parse_args()
    args.data = args.data.resolve()
    configs = list_configs(args.pattern)
    print('| config | loss | train (s) | test (s) | | metrics or error |')
    print('| --- | --: | --: | --: | --- | --- |', flush=True)
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_classes(args.data, folder / 'classes')
        (folder / 'checkpoints').mkdir()
        for config in configs:
            cfg = Config.fromfile(ROOT / 'configs' / config)
            pretrained = get_pretrained(cfg)
            if pretrained and not (folder / pretrained).exists():
                write_checkpoint(folder / pretrained)
        with ThreadPoolExecutor(args.jobs) as pool:
            for result in pool.map(
                lambda config: run_config(config, folder, args), configs
            ):
                failures += bool(result.error)
                print(format_row(result), flush=True)
    print(f'\n{len(configs) - failures} of {len(configs)} passed')
    sys.exit(failures > 0)


if __name__ == '__main__':
    main()
