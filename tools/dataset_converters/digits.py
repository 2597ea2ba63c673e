# Copyright (c) mmactive contributors. All rights reserved.
"""Writes scikit-learn's handwritten digits as an image folder.

The 1,797 digits come with scikit-learn (the test part of the UCI data set
"Optical Recognition of Handwritten Digits": 8x8 pixels, 17 levels of grey),
so nothing is downloaded. The result is what mmpretrain's ``CustomDataset``
reads: ``OUT_DIR/{train,val}/<class>/<number>.png``.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

CLASSES = tuple('0123456789')
NUM_VAL = 360


def split_digits(seed: int) -> dict[str, np.ndarray]:
    """Splits the digits into train and val, each class alike in both.

    Args:
        seed (int): Seed of the shuffle.

    Returns:
        dict[str, np.ndarray]: For 'train' (1,437) and 'val' (360) the sorted
        positions of their digits in ``load_digits()``.
    """
    target = load_digits().target
    train, val = train_test_split(
        np.arange(len(target)),
        test_size=NUM_VAL,
        stratify=target,
        random_state=seed,
    )
    return dict(train=np.sort(train), val=np.sort(val))


def load_split(split: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Loads the digits of one split.

    Args:
        split (str): 'train' or 'val'.
        seed (int): Seed of the split.

    Returns:
        tuple[np.ndarray, np.ndarray]: Ink of each pixel, of shape
        (num_digits, 8, 8), float32, 0 to 1; and the classes, of shape
        (num_digits, ), int64.
    """
    digits = load_digits()
    indices = split_digits(seed)[split]
    inks = (digits.images[indices] / 16).astype(np.float32)
    return inks, digits.target[indices]


def write_once(
    out_dir: Path, settings: dict, write: Callable[[Path], None]
) -> None:
    """Lets ``write`` fill a directory and publishes it whole or not at all.

    The directory is filled under another name and renamed at the end, so an
    interrupted run leaves no ``out_dir`` behind and the next one starts over.
    One that was there already, with these settings, stays as it is. Prints
    which of the two it was.

    Args:
        out_dir (Path): The directory to write.
        settings (dict): What determines the content. It is kept in
            ``out_dir/settings.json``.
        write (Callable): Called with the directory to fill.

    Raises:
        FileExistsError: If ``out_dir`` holds something else.
    """
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f'{out_dir}.lock'):
        record = out_dir / 'settings.json'
        if out_dir.exists():
            found = (
                json.loads(record.read_text()) if record.is_file() else None
            )
            if found != settings:
                raise FileExistsError(
                    f'out_dir: {out_dir} exists and holds {found}, expected '
                    f'{settings}; choose another directory or delete it'
                )
            print(f'{out_dir}: already there')
            return
        part = out_dir.with_name(f'{out_dir.name}.part')
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        write(part)
        (part / record.name).write_text(json.dumps(settings, indent=2))
        part.rename(out_dir)
        print(f'{out_dir}: written')


def write_digits(root: Path, seed: int) -> None:
    """Writes every digit as a grey PNG of 8x8 pixels.

    Args:
        root (Path): The directory to fill.
        seed (int): Seed of the split.
    """
    digits = load_digits()
    for split, indices in split_digits(seed).items():
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
        for index in indices:
            name = CLASSES[digits.target[index]]
            grey = np.rint(digits.images[index] * (255 / 16)).astype(np.uint8)
            Image.fromarray(grey).save(
                root / split / name / f'{index:04d}.png'
            )


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out_dir', type=Path, help='directory to write')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the train/val split'
    )
    args = parser.parse_args()
    if not 0 <= args.seed < 2**32:
        parser.error('--seed must be at least 0 and below 2**32')
    return args


def main() -> None:
    """Runs the command."""
    args = parse_args()
    settings = dict(dataset='digits', seed=args.seed)
    write_once(
        args.out_dir, settings, lambda root: write_digits(root, args.seed)
    )


if __name__ == '__main__':
    main()
