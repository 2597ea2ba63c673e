# Copyright (c) mmactive contributors. All rights reserved.
"""Writes scenes of handwritten digits in COCO's and in ADE20K's format.

A scene shows several of scikit-learn's handwritten digits in different sizes
and colours on a crop of one of scikit-learn's sample photographs; later
digits cover earlier ones. Nothing is downloaded. The same scenes are written
twice, laid out as the originals are, so that a config for them needs no more
than another ``data_root`` and other classes::

    OUT_DIR/coco/{train2017,val2017}/<number>.jpg
    OUT_DIR/coco/annotations/instances_{train2017,val2017}.json
    OUT_DIR/ade20k/images/{training,validation}/<number>.jpg
    OUT_DIR/ade20k/annotations/{training,validation}/<number>.png

Train and val show the digits of the split that ``digits.py`` makes with the
same seed, on the left and on the right halves of the photographs.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from digits import CLASSES, load_split, write_once
from PIL import Image
from pycocotools import mask as coco_mask
from sklearn.datasets import load_sample_images

SIZE = 128
"""Height and width of a scene in pixels."""
NUM_DIGITS = (4, 6)
"""Least and largest number of digits in a scene."""
DIGIT_SIZE = (36, 64)
"""Least and largest height and width of a digit with its margin, in pixels."""
MIN_INK = 0.5
"""Least ink (of 1) of a stroke. With less, the holes of an 8 would close."""
MIN_VISIBLE = 0.9
"""Least part of a digit's strokes that later digits leave visible, so that it
can still be told from the others."""
MIN_CONTRAST = 80
"""Least amount of luma (of 255) by which a digit outshines its ground."""
MAX_GROUND = 160
"""Largest mean luma of what a digit is drawn on. Nothing outshines more."""
LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in luma."""

SPLITS = dict(train=('train2017', 'training'), val=('val2017', 'validation'))
"""Names of the splits in COCO and in ADE20K."""


class SceneComposer:
    """Draws scenes from the digits and the photographs of one split.

    Args:
        split (str): 'train' or 'val'.
        seed (int): Seed of the split and of the scenes.
    """

    def __init__(self, split: str, seed: int) -> None:
        inks, self.labels = load_split(split, seed)
        # The strokes reach the border; a margin lets them end softly.
        self.inks = np.pad(inks, ((0, 0), (1, 1), (1, 1)))
        photos = load_sample_images().images
        halves = [np.array_split(photo, 2, axis=1) for photo in photos]
        self.backgrounds = [half[split == 'val'] for half in halves]
        self.rng = np.random.default_rng([seed, split == 'val'])

    def background(self) -> np.ndarray:
        """Draws a crop of a photograph, dark enough to write on.

        Returns:
            np.ndarray: RGB of shape (SIZE, SIZE, 3), float32, 0 to 255.
        """
        photo = self.backgrounds[self.rng.integers(len(self.backgrounds))]
        size = self.rng.integers(SIZE // 2, SIZE * 2)
        top, left = self.rng.integers(np.subtract(photo.shape[:2], size) + 1)
        crop = photo[top : top + size, left : left + size]
        crop = cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        crop = crop.astype(np.float32)
        return crop * self.rng.uniform(0.3, 0.6)

    def digit(self) -> tuple[np.ndarray, int]:
        """Draws a digit and enlarges it.

        Returns:
            tuple[np.ndarray, int]: How much of each pixel is covered by ink,
            square, float32, 0 to 1; and the class.
        """
        index = self.rng.integers(len(self.labels))
        low, high = np.log(DIGIT_SIZE)
        size = round(np.exp(self.rng.uniform(low, high)))
        ink = cv2.resize(
            self.inks[index], (size, size), interpolation=cv2.INTER_CUBIC
        )
        # Makes the edge of the stroke as sharp as its new size allows.
        ink = np.clip((ink - MIN_INK) * size / 20 + 0.5, 0, 1)
        return ink, int(self.labels[index])

    def colour(self, ground: float) -> np.ndarray:
        """Draws a colour that can be seen.

        Args:
            ground (float): Mean luma of what is below, at most MAX_GROUND.

        Returns:
            np.ndarray: RGB of shape (3, ), 0 to 255.
        """
        while True:
            colour = self.rng.uniform(0, 255, 3)
            if colour @ LUMA - ground >= MIN_CONTRAST:
                return colour

    def compose(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws a scene.

        Returns:
            tuple[np.ndarray, np.ndarray, np.ndarray]: The scene, RGB of shape
            (SIZE, SIZE, 3), uint8; the visible part of each digit, a mask of
            shape (num_digits, SIZE, SIZE), bool; and their classes, of shape
            (num_digits, ), int64.
        """
        scene = self.background()
        masks = np.zeros((0, SIZE, SIZE), dtype=bool)
        areas, labels = [], []
        number = self.rng.integers(NUM_DIGITS[0], NUM_DIGITS[1] + 1)
        while len(labels) < number:
            ink, label = self.digit()
            size = len(ink)
            top, left = self.rng.integers(SIZE - size + 1, size=2)
            window = np.s_[top : top + size, left : left + size]
            mask = np.zeros((SIZE, SIZE), dtype=bool)
            mask[window] = ink >= 0.5
            visible = masks & ~mask
            if (visible.sum((1, 2)) < np.multiply(areas, MIN_VISIBLE)).any():
                continue
            ground = (scene[window] @ LUMA).mean()
            if ground > MAX_GROUND:
                continue
            colour = self.colour(ground)
            scene[window] += ink[..., None] * (colour - scene[window])
            masks = np.concatenate([visible, mask[None]])
            areas.append(mask.sum())
            labels.append(label)
        noise = self.rng.normal(0, 4, scene.shape)
        scene = np.rint(scene + noise).clip(0, 255).astype(np.uint8)
        return scene, masks, np.array(labels)


def coco_annotations(masks: np.ndarray, labels: np.ndarray) -> list[dict]:
    """Describes the digits of a scene as COCO does.

    Args:
        masks (np.ndarray): Visible parts, (num_digits, SIZE, SIZE), bool.
        labels (np.ndarray): Classes, (num_digits, ), int64.

    Returns:
        list[dict]: Annotations without 'id' and 'image_id'. The segmentation
        is a compressed RLE, because digits have holes.
    """
    rles = coco_mask.encode(
        np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8))
    )
    return [
        dict(
            category_id=int(label) + 1,
            bbox=coco_mask.toBbox(rle).tolist(),
            area=int(coco_mask.area(rle)),
            iscrowd=0,
            segmentation=dict(rle, counts=rle['counts'].decode()),
        )
        for rle, label in zip(rles, labels)
    ]


def semantic_map(masks: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Describes a scene as ADE20K does.

    Args:
        masks (np.ndarray): Visible parts, (num_digits, SIZE, SIZE), bool.
        labels (np.ndarray): Classes, (num_digits, ), int64.

    Returns:
        np.ndarray: Classes of the pixels, (SIZE, SIZE), uint8. 0 is kept for
        unlabeled pixels as in ADE20K, 1 is the background, 2 the digit 0.
    """
    semantic = np.ones((SIZE, SIZE), dtype=np.uint8)
    for mask, label in zip(masks, labels):
        semantic[mask] = label + 2
    return semantic


def write_scenes(root: Path, seed: int, numbers: dict[str, int]) -> None:
    """Writes the scenes of both splits in both formats.

    Args:
        root (Path): The directory to fill.
        seed (int): Seed of the split and of the scenes.
        numbers (dict[str, int]): Number of scenes for 'train' and 'val'.
    """
    for split, (coco_split, ade_split) in SPLITS.items():
        coco_images = root / 'coco' / coco_split
        ade_images = root / 'ade20k' / 'images' / ade_split
        ade_maps = root / 'ade20k' / 'annotations' / ade_split
        annotation_dir = root / 'coco' / 'annotations'
        for directory in coco_images, ade_images, ade_maps, annotation_dir:
            directory.mkdir(parents=True, exist_ok=True)

        composer = SceneComposer(split, seed)
        images, annotations = [], []
        for image_id in range(1, numbers[split] + 1):
            scene, masks, labels = composer.compose()
            name = f'{image_id:06d}.jpg'
            for directory in coco_images, ade_images:
                Image.fromarray(scene).save(directory / name, quality=95)
            Image.fromarray(semantic_map(masks, labels)).save(
                (ade_maps / name).with_suffix('.png')
            )
            images.append(
                dict(id=image_id, file_name=name, height=SIZE, width=SIZE)
            )
            for annotation in coco_annotations(masks, labels):
                annotation.update(id=len(annotations) + 1, image_id=image_id)
                annotations.append(annotation)
        content = dict(
            images=images,
            annotations=annotations,
            categories=[
                dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)
            ],
        )
        (annotation_dir / f'instances_{coco_split}.json').write_text(
            json.dumps(content)
        )


def parse_args(description: str, train: int, val: int) -> argparse.Namespace:
    """Parses the command line of a converter that draws images.

    Args:
        description (str): What it writes.
        train (int): Number of images to train on, unless another is given.
        val (int): Number of images to evaluate on, likewise.

    Returns:
        argparse.Namespace: ``out_dir``, ``train``, ``val`` and ``seed``.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out_dir', type=Path, help='directory to write')
    parser.add_argument(
        '--train',
        type=int,
        default=train,
        help='number of images to train on (default: %(default)s)',
    )
    parser.add_argument(
        '--val',
        type=int,
        default=val,
        help='number of images to evaluate on (default: %(default)s)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the split and the images'
    )
    args = parser.parse_args()
    for name in ('train', 'val'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1')
    if not 0 <= args.seed < 2**32:
        parser.error('--seed must be at least 0 and below 2**32')
    return args


def main() -> None:
    """Runs the command."""
    args = parse_args(__doc__, train=2000, val=100)
    numbers = dict(train=args.train, val=args.val)
    settings = dict(
        dataset='digit_scenes',
        seed=args.seed,
        **numbers,
        size=SIZE,
        num_digits=list(NUM_DIGITS),
        digit_size=list(DIGIT_SIZE),
        min_ink=MIN_INK,
        min_visible=MIN_VISIBLE,
        min_contrast=MIN_CONTRAST,
        max_ground=MAX_GROUND,
    )
    write_once(
        args.out_dir,
        settings,
        lambda root: write_scenes(root, args.seed, numbers),
    )


if __name__ == '__main__':
    main()
