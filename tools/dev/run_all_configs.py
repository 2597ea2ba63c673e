# Copyright (c) mmactive contributors. All rights reserved.
"""Trains every config for an iteration and tests it on an image.

Runs ``tools/train.py`` and ``tools/test.py`` on COCO images, as a user would,
with no more than the data root, the batch size, the image size and the length
set on the command line, and prints a table. A checkpoint that a detector or
segmentor starts from is written first, with random weights; those that would
have to be downloaded are left out.

The tools run in copies of this process, which has imported everything, so that
a config takes seconds. Classifiers of other families than ActiveMLP run at
their own image size, since some take no other.

DATA holds ``coco128/`` (COCO's format: ``annotations/``, ``train2017/``,
``val2017/``) and ``ade_layout/`` (ADE20K's: ``images/``, ``annotations/``).
"""

import argparse
import importlib
import json
import logging
import math
import multiprocessing
import os
import runpy
import sys
import tempfile
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmactive.engine.options import get_pretrained

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ('imagenet', 'coco', 'ade20k')
FORK = multiprocessing.get_context('fork')


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


def write_checkpoint(cfg: Config, path: Path) -> None:
    """Writes the checkpoint that a config starts from, with random weights.

    Args:
        cfg (Config): The config.
        path (Path): File to write.
    """
    init_default_scope(cfg.default_scope)
    init_cfg = cfg.model.backbone.init_cfg
    backbone = MODELS.build(dict(cfg.model.backbone, init_cfg=None))
    prefix = init_cfg.get('prefix', '')
    weights = {f'{prefix}{k}': v for k, v in backbone.state_dict().items()}
    if prefix:
        weights['head.fc.bias'] = torch.zeros(1000)  # to be dropped
    path.parent.mkdir(exist_ok=True)
    torch.save(dict(state_dict=weights), path)


def is_local(cfg: Config) -> bool:
    """Tells whether a config starts from a checkpoint that we write."""
    checkpoint = get_pretrained(cfg)
    return bool(checkpoint) and checkpoint.startswith('checkpoints/')


def iter_steps(pipeline: list, prefix: str) -> Iterator[Tuple[str, dict]]:
    """Yields the steps of a pipeline and the keys of their settings."""
    for i, step in enumerate(pipeline):
        yield f'{prefix}.{i}', step


def list_sizes(cfg: Config, size: int) -> Iterator[str]:
    """Yields the options that make a config's images small.

    Args:
        cfg (Config): The config.
        size (int): Shorter side in pixels.

    Yields:
        str: An option.
    """
    is_detector = cfg.default_scope == 'mmdet'
    scale = f'({size * 5 // 3 if is_detector else size * 4},{size})'
    for loader in ('train_dataloader', 'test_dataloader'):
        prefix = f'{loader}.dataset.pipeline'
        for key, step in iter_steps(cfg[loader].dataset.pipeline, prefix):
            if step.type in ('Resize', 'RandomResize'):
                yield f'{key}.scale={scale}'
            elif step.type == 'RandomChoiceResize':
                yield f'{key}.scales=[{scale}]'
            elif step.type == 'RandomCrop':
                yield f'{key}.crop_size=({size},{size})'
            elif step.type in ('RandomResizedCrop', 'ResizeEdge'):
                yield f'{key}.scale={size}'
            elif step.type == 'CenterCrop':
                yield f'{key}.crop_size={size}'
    if cfg.default_scope == 'mmseg':
        yield f'model.data_preprocessor.size=({size},{size})'


def list_options(config: str, args: argparse.Namespace) -> List[str]:
    """Lists the options for a small image and a single iteration."""
    cfg = Config.fromfile(ROOT / 'configs' / config)
    root, batch_size, length = dict(
        mmpretrain=('classes', 2, 'max_epochs'),
        mmdet=(f'{args.data}/coco128', 1, 'max_epochs'),
        # Segmentors normalize maps of one pixel over the batch.
        mmseg=(f'{args.data}/ade_layout', 2, 'max_iters'),
    )[cfg.default_scope]
    options = [
        'default_hooks.logger.interval=1',
        # Saving the optimizer takes as long as training.
        'default_hooks.checkpoint.save_optimizer=False',
        f'train_dataloader.batch_size={batch_size}',
        f'train_cfg.{length}=1',
        # Warm-ups are longer than this.
        'param_scheduler=[]',
    ]
    if 'data_root' in cfg:
        options.append(f'data_root={root}')
    else:  # mmpretrain's own
        options += [
            f'{split}_dataloader.dataset.data_root={root}'
            for split in ('train', 'val', 'test')
        ]
    if cfg.default_scope != 'mmpretrain':
        options.append('test_dataloader.dataset.indices=1')
    if cfg.default_scope == 'mmdet':
        options.append('train_dataloader.dataset.indices=1')
    if not config.startswith('imagenet/peers'):
        options += list_sizes(cfg, args.size)
    if cfg.model.get('pretrained'):
        options.append('model.pretrained=None')
    if get_pretrained(cfg) and not is_local(cfg):
        options.append('model.backbone.init_cfg=None')
    return options


def run_in_copy(tool: str, arguments: List[str], folder: Path) -> None:
    """Runs a tool in this process, with its output in a file."""
    os.chdir(folder)
    log = os.open('log.txt', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = [tool, *arguments]
    runpy.run_path(tool, run_name='__main__')
    sys.stdout.flush()
    os._exit(0)  # does not wait for the processes that load images


def run(tool: str, arguments: List[str], folder: Path) -> str:
    """Runs a tool, and returns the last line it printed if it failed."""
    path = str(ROOT / 'tools' / tool)
    process = FORK.Process(target=run_in_copy, args=(path, arguments, folder))
    process.start()
    process.join()
    if process.exitcode == 0:
        return ''
    lines = (folder / 'log.txt').read_text().strip().splitlines()
    return lines[-1] if lines else f'exit {process.exitcode}'


def run_config(
    config: str, folder: Path, args: argparse.Namespace, sender: Connection
) -> None:
    """Trains and tests a config.

    Args:
        config (str): Path from the configs folder.
        folder (Path): Folder to work in, which has ``classes/``.
        args (argparse.Namespace): Parsed arguments.
        sender (Connection): Where a :class:`Result` is sent to.
    """
    path = str(ROOT / 'configs' / config)
    loss, train_s, test_s, metrics = math.nan, 0.0, 0.0, {}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        (place / 'classes').symlink_to(folder / 'classes')
        cfg = Config.fromfile(path)
        if is_local(cfg):
            write_checkpoint(cfg, place / get_pretrained(cfg))
        options = ['--work-dir', 'work', '--cfg-options']
        options += list_options(config, args)
        start = time.time()
        error = run('train.py', [path, '--no-validate', *options], place)
        train_s = time.time() - start
        if not error:
            log = next(place.glob('work/*/vis_data/scalars.json')).read_text()
            loss = json.loads(log.splitlines()[0])['loss']
            checkpoint = (place / 'work/last_checkpoint').read_text()
            start = time.time()
            arguments = [path, checkpoint, '--out-item', 'metrics']
            arguments += ['--out', 'metrics.json', *options]
            error = run('test.py', arguments, place)
            test_s = time.time() - start
            if not error:
                metrics = json.loads((place / 'metrics.json').read_text())
    if not error and not math.isfinite(loss):
        error = f'the loss is {loss}'
    sender.send(Result(config, loss, train_s, test_s, metrics, error))


def run_configs(
    configs: List[str], folder: Path, args: argparse.Namespace
) -> Iterator[Result]:
    """Trains and tests configs, ``args.jobs`` at a time.

    Yields:
        Result: What has become of a config, in the order in which they end.
    """
    waiting, running = list(configs), {}
    while waiting or running:
        while waiting and len(running) < args.jobs:
            config = waiting.pop(0)
            receiver, sender = FORK.Pipe(duplex=False)
            process = FORK.Process(
                target=run_config, args=(config, folder, args, sender)
            )
            process.start()
            sender.close()
            running[receiver] = process, config
        for receiver in wait(running):
            process, config = running.pop(receiver)
            try:
                yield receiver.recv()
            except EOFError:
                error = f'exit {process.exitcode}'
                yield Result(config, math.nan, 0.0, 0.0, {}, error)
            process.join()


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
    logging.disable(logging.INFO)
    # The copies find everything imported.
    for library in ('mmpretrain', 'mmdet', 'mmseg'):
        importlib.import_module(f'{library}.apis')
    configs = list_configs(args.pattern)
    print('| config | loss | train (s) | test (s) | | metrics or error |')
    print('| --- | --: | --: | --: | --- | --- |', flush=True)
    failures, start = 0, time.time()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_classes(args.data, folder / 'classes')
        for result in run_configs(configs, folder, args):
            failures += bool(result.error)
            print(format_row(result), flush=True)
    print(
        f'\n{len(configs) - failures} of {len(configs)} passed '
        f'in {(time.time() - start) / 60:.0f} minutes'
    )
    sys.exit(failures > 0)


if __name__ == '__main__':
    main()
