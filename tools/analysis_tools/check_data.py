# Copyright (c) mmactive contributors. All rights reserved.
"""Checks all the data that a config trains and tests on.

Annotation files, classes and label maps as training does before it begins,
and then every image. Prints a line for each thing that is wrong, and ends with
exit status 1 if there is one.
"""

import os
import sys
from argparse import Namespace
from typing import Dict, Iterator, List

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch.utils.data import Dataset

from mmactive.engine import Runner
from mmactive.engine.checks.data import (
    check_evaluator,
    check_images,
    check_same_classes,
    checked_loading,
    iter_leaves,
)
from mmactive.engine.launch import set_dataloader_defaults
from mmactive.engine.options import (
    SPLITS,
    check_dataloader,
    load_config,
    make_parser,
)

# What a check raises, and the libraries where they find no file
ERRORS = (OSError, RuntimeError, ValueError, TypeError, KeyError)


def parse_args() -> Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=SPLITS,
        default=SPLITS,
        help='which dataloaders to check; default: all that the config has',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count(),
        help='number of processes that load images (default: one a core)',
    )
    parser.add_argument(
        '--no-images',
        dest='images',
        action='store_false',
        help='only check what training checks before it begins',
    )
    return parser.parse_args()


def list_splits(cfg: Config, wanted: List[str]) -> Iterator[str]:
    """Yields the splits that a config has, each data set once."""
    seen = []
    for split in wanted:
        loader = cfg.get(f'{split}_dataloader')
        what = loader and (loader, cfg.get(f'{split}_evaluator'))
        if what and what not in seen:
            seen.append(what)
            yield split


def check_split(
    cfg: Config, split: str, datasets: Dict[str, Dataset]
) -> Iterator[str]:
    """Checks a split as training or testing does; yields what is wrong."""
    try:
        check_dataloader(cfg, f'{split}_dataloader')
        dataset = Runner.build_dataloader(cfg[f'{split}_dataloader']).dataset
    except ERRORS as error:
        yield f'{type(error).__name__}: {error}'
        return
    datasets[split] = dataset
    if split == 'train':
        return
    try:
        if 'train' in datasets:
            check_same_classes(dataset, datasets['train'])
        evaluator = cfg.get(f'{split}_evaluator')
        if evaluator:
            with checked_loading():
                evaluator = Evaluator(evaluator)
            evaluator.dataset_meta = dataset.metainfo
            check_evaluator(evaluator, dataset)
    except ERRORS as error:
        yield f'{type(error).__name__}: {error}'


def main() -> None:
    """Runs the command."""
    args = parse_args()
    cfg = load_config(args)
    set_dataloader_defaults(cfg)
    init_default_scope(cfg.default_scope)
    MMLogger.get_instance('check_data')
    datasets, count = {}, 0
    for split in list_splits(cfg, args.splits):
        errors = list(check_split(cfg, split, datasets))
        images = 0
        if split in datasets and args.images:
            for leaf in iter_leaves(datasets[split]):
                if isinstance(leaf, BaseDataset):
                    errors += check_images(leaf, args.workers)
                    images += len(leaf)
        for error in errors:
            print(f'{split}: {error}')
        print(f'{split}: {images} images loaded, {len(errors)} errors')
        count += len(errors)
    if count > 0:
        sys.exit(1)


if __name__ == '__main__':
    main()
