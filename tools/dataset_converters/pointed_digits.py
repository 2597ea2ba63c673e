# Copyright (c) mmactive contributors. All rights reserved.
"""Writes pairs of handwritten digits with a bar that points at one of them.

The class is that of the digit which the bar points at: along a row from the
left edge of the image, or along a column from its upper edge. All else of an
image is the same for both answers, so who does not see how bar and digits lie
to each other is right half of the time. They lie farther apart than
convolutions of the stem and between the stages see, so that is a matter of
token mixing.

The digits are scikit-learn's, split as ``digits.py`` does with the same seed;
nothing is downloaded. The result is what mmpretrain's ``CustomDataset`` reads:
``OUT_DIR/{train,val}/<class>/<number>.png``.
"""

from pathlib import Path

import cv2
import numpy as np
from digit_scenes import parse_args
from digits import CLASSES, load_split, write_once
from PIL import Image

SIZE = 112
"""Height and width of an image in pixels."""
DIGIT_SIZE = 32
"""Height and width of a digit, and length of the bar, in pixels."""
BAR_WIDTH = 6
"""Width of the bar in pixels."""
REACH = 64
"""Least distance of a digit from the bar in pixels. The tokens of the last of
four stages see 63 pixels without mixing: 7x7 with stride 4, then 3x3 with
stride 2 three times."""
MIN_STEP = 40
"""Least distance from where a digit begins to where the other one does, in
pixels along the bar."""
BRIGHTNESS = (0.6, 1.0)
"""Least and largest brightness of a digit or the bar."""


class PairComposer:
    """Draws images from the digits of one split.

    Args:
        split (str): 'train' or 'val'.
        seed (int): Seed of the split and of the images.
    """

    def __init__(self, split: str, seed: int) -> None:
        self.inks, self.labels = load_split(split, seed)
        self.rng = np.random.default_rng([seed, split == 'val'])

    def pair(self) -> np.ndarray:
        """Draws two digits of different classes, by their positions."""
        while True:
            indices = self.rng.integers(len(self.labels), size=2)
            if len(set(self.labels[indices])) == 2:
                return indices

    def starts(self) -> np.ndarray:
        """Draws where along the bar's edge the two digits begin, in pixels."""
        while True:
            starts = self.rng.integers(SIZE - DIGIT_SIZE + 1, size=2)
            if abs(starts[0] - starts[1]) >= MIN_STEP:
                return starts

    def compose(self) -> tuple[np.ndarray, int]:
        """Draws an image.

        Returns:
            tuple[np.ndarray, int]: The image, grey of shape (SIZE, SIZE),
            uint8, and its class.
        """
        image = np.zeros((SIZE, SIZE), dtype=np.float32)
        indices, starts = self.pair(), self.starts()
        is_column = self.rng.integers(2)
        for index, start in zip(indices, starts):
            ink = cv2.resize(
                self.inks[index],
                (DIGIT_SIZE, DIGIT_SIZE),
                interpolation=cv2.INTER_CUBIC,
            )
            far = self.rng.integers(BAR_WIDTH + REACH, SIZE - DIGIT_SIZE + 1)
            top, left = (far, start) if is_column else (start, far)
            window = np.s_[top : top + DIGIT_SIZE, left : left + DIGIT_SIZE]
            image[window] = ink.clip(0, 1) * self.rng.uniform(*BRIGHTNESS)
        # The first of them; which of the two lies ahead is drawn above.
        bar = np.s_[starts[0] : starts[0] + DIGIT_SIZE, :BAR_WIDTH]
        image[bar[::-1] if is_column else bar] = self.rng.uniform(*BRIGHTNESS)
        image = np.rint(255 * image).astype(np.uint8)
        return image, int(self.labels[indices[0]])


def write_pairs(root: Path, seed: int, numbers: dict[str, int]) -> None:
    """Writes the images of both splits.

    Args:
        root (Path): The directory to fill.
        seed (int): Seed of the split and of the images.
        numbers (dict[str, int]): Number of images for 'train' and 'val'.
    """
    for split, number in numbers.items():
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
        composer = PairComposer(split, seed)
        for image_id in range(1, number + 1):
            image, label = composer.compose()
            path = root / split / CLASSES[label] / f'{image_id:06d}.png'
            Image.fromarray(image).save(path)


def main() -> None:
    """Runs the command."""
    args = parse_args(__doc__, train=4000, val=1000)
    numbers = dict(train=args.train, val=args.val)
    settings = dict(
        dataset='pointed_digits',
        seed=args.seed,
        **numbers,
        size=SIZE,
        digit_size=DIGIT_SIZE,
        bar_width=BAR_WIDTH,
        reach=REACH,
        min_step=MIN_STEP,
        brightness=list(BRIGHTNESS),
    )
    write_once(
        args.out_dir,
        settings,
        lambda root: write_pairs(root, args.seed, numbers),
    )


if __name__ == '__main__':
    main()
