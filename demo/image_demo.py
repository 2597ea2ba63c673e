# Copyright (c) mmactive contributors. All rights reserved.
"""Predicts what is in an image, a video, or all those of a folder.

One tool for classifiers, detectors and segmentors. In OUT_DIR come

vis/NAME.*       the image or video with what was predicted drawn on it
preds/NAME.json  the prediction; of a video, a list with an item a frame
preds/NAME.png   the label map of a segmentor; of a video, preds/NAME/FRAME.png
"""

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

import cv2
import numpy as np
from mmengine.utils import track_iter_progress

from mmactive.engine.checks.data.images import check_completeness
from mmactive.engine.inference import ERRORS, Predictor
from mmactive.utils.files import replacing, write_atomically

# By ending what OpenCV reads, and which of the images it also writes
IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
OTHER_IMAGES = ('.ppm', '.pgm')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')


def parse_args() -> Namespace:
    """Parses the command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument('inputs', type=Path, help='image, video or folder')
    parser.add_argument(
        'model', help='config file, or the name of a model of the model zoo'
    )
    parser.add_argument(
        '--weights',
        '--checkpoint',
        help="checkpoint file or URL; default: the model zoo's",
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default='outputs',
        help='folder to write to; default: outputs',
    )
    parser.add_argument(
        '--device', help='as in cuda:0; default: the best that is there'
    )
    parser.add_argument(
        '--pred-score-thr',
        type=float,
        default=0.3,
        help='least score of the detections that are drawn; default: 0.3',
    )
    parser.add_argument(
        '--palette',
        help='colours of classes: random; for detectors also coco, voc and '
        'citys, for segmentors the datasets of mmseg, as in ade20k; default: '
        'those of the config or the checkpoint',
    )
    parser.add_argument(
        '--scale',
        type=int,
        default=1,
        help='how many times to enlarge small images, so that words fit on '
        'them; default: 1',
    )
    parser.add_argument(
        '--show', action='store_true', help='show each picture in a window'
    )
    parser.add_argument(
        '--wait-time',
        type=float,
        default=0,
        help='seconds each window is shown; default: 0, until it is closed',
    )
    parser.add_argument(
        '--no-save-vis', action='store_true', help='write no pictures'
    )
    parser.add_argument(
        '--no-save-pred', action='store_true', help='write no predictions'
    )
    parser.add_argument(
        '--print-result', action='store_true', help='print the predictions'
    )
    args = parser.parse_args()
    if args.scale < 1:
        parser.error(f'--scale must be at least 1, but got {args.scale}')
    return args


def list_inputs(path: Path) -> List[Tuple[Path, str]]:
    """Lists images and videos, and what their outputs are called.

    Args:
        path (Path): A file, or a folder, which is searched to its depth.

    Returns:
        list[tuple[Path, str]]: Files with their names: where they are in the
        folder, without the ending unless that alone tells two files apart.

    Raises:
        FileNotFoundError: If there is no such file, or no image in a folder.
    """
    if path.is_file():
        return [(path, path.stem)]
    if not path.is_dir():
        raise FileNotFoundError(f'inputs: there is no file or folder {path}')
    files = [
        file.relative_to(path)
        for file in sorted(path.rglob('*'))
        if file.suffix.lower() in IMAGES + OTHER_IMAGES + VIDEOS
        and file.is_file()
    ]
    if not files:
        raise FileNotFoundError(f'inputs: no image and no video in {path}')
    counts = Counter(file.with_suffix('') for file in files)
    names = [
        file if counts[file.with_suffix('')] > 1 else file.with_suffix('')
        for file in files
    ]
    return [(path / file, str(name)) for file, name in zip(files, names)]


def read_image(path: Path) -> np.ndarray:
    """Reads an image.

    Returns:
        np.ndarray: BGR of shape (H, W, 3), uint8.

    Raises:
        ValueError: If it is none, or cut off. The error names it.
    """
    content = np.fromfile(path, np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    try:
        if image is None:
            raise OSError('it is no image or video that OpenCV can read')
        check_completeness(str(path))
    except OSError as error:
        raise ValueError(f'inputs: {path}: {error}') from None
    return image


def write_image(path: str, image: np.ndarray) -> None:
    """Writes an image, BGR or labels, in the format of its ending."""
    _, content = cv2.imencode(Path(path).suffix.lower(), image)
    write_atomically(path, content.tobytes())


def iter_frames(path: Path, capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yields the frames of a video, BGR of shape (H, W, 3), uint8.

    Raises:
        ValueError: If there is none. The error names the file.
    """
    count = 0
    while True:
        is_read, frame = capture.read()
        if not is_read:
            break
        count += 1
        yield frame
    if count == 0:
        raise ValueError(f'inputs: {path}: OpenCV can read no frame of it')
    expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if count < expected:
        print(
            f'\n{path}: only {count} of {expected} frames could be read',
            file=sys.stderr,
        )


class Demo:
    """Predicts, and writes what is asked for.

    Args:
        args (Namespace): The command line.
    """

    def __init__(self, args: Namespace) -> None:
        self.args = args
        self.vis = f'{args.out_dir}/vis'
        self.preds = f'{args.out_dir}/preds'
        self.predictor = Predictor(
            args.model, args.weights, args.device, args.palette
        )

    def predict(
        self, image: np.ndarray, name: str
    ) -> Tuple[dict, Optional[np.ndarray]]:
        """Predicts what is in an image or frame.

        Args:
            image (np.ndarray): BGR of shape (H, W, 3), uint8.
            name (str): What outputs are called.

        Returns:
            tuple: The prediction and the picture, BGR of uint8, or None if
            nobody wants it.
        """
        args, predictor = self.args, self.predictor
        sample = predictor.predict(image)
        result = predictor.describe(sample)
        if predictor.task == 'segmentation' and not args.no_save_pred:
            labels = predictor.get_label_map(sample)
            write_image(f'{self.preds}/{name}.png', labels)
            result['label_map'] = f'{name}.png'
        if args.print_result:
            print(f'\n{name}: {json.dumps(result)}')
        if args.no_save_vis and not args.show:
            return result, None
        picture = predictor.draw(
            image, sample, args.pred_score_thr, args.scale
        )
        if args.show:
            predictor.show(picture, name, args.wait_time)
        return result, picture[..., ::-1]

    def run_image(self, path: Path, name: str) -> None:
        """Predicts what is in an image."""
        result, picture = self.predict(read_image(path), name)
        if not self.args.no_save_vis:
            suffix = path.suffix if path.suffix.lower() in IMAGES else '.png'
            name_with_suffix = f'{name.removesuffix(suffix)}{suffix}'
            write_image(f'{self.vis}/{name_with_suffix}', picture)
        if not self.args.no_save_pred:
            content = json.dumps(result).encode()
            write_atomically(f'{self.preds}/{name}.json', content)

    def run_video(self, path: Path, name: str) -> None:
        """Predicts what is in a video, of which one frame is held at a time.

        Raises:
            OSError: If OpenCV cannot write videos.
        """
        args = self.args
        with ExitStack() as stack:
            capture = cv2.VideoCapture(str(path))
            stack.callback(capture.release)
            fps = capture.get(cv2.CAP_PROP_FPS) or 25
            expected = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
            if not args.no_save_vis:
                place = replacing(
                    f'{self.vis}/{name.removesuffix(".mp4")}.mp4'
                )
                video = stack.enter_context(place)
            if not args.no_save_pred:
                place = replacing(f'{self.preds}/{name}.json')
                file = stack.enter_context(
                    open(stack.enter_context(place), 'w')
                )
            writer = None
            frames = iter_frames(path, capture)
            for i, frame in enumerate(track_iter_progress((frames, expected))):
                result, picture = self.predict(frame, f'{name}/{i:06}')
                if not args.no_save_pred:
                    file.write(',\n' if i else '[')
                    json.dump(result, file)
                if args.no_save_vis:
                    continue
                if writer is None:
                    size = picture.shape[1::-1]
                    code = cv2.VideoWriter_fourcc(*'mp4v')
                    writer = cv2.VideoWriter(video, code, fps, size)
                    stack.callback(writer.release)
                    if not writer.isOpened():
                        raise OSError(f'out-dir: OpenCV cannot write {video}')
                writer.write(np.ascontiguousarray(picture))
            if not args.no_save_pred:
                file.write(']\n')


def main() -> None:
    """Runs the command."""
    args = parse_args()
    try:
        inputs = list_inputs(args.inputs)
        demo = Demo(args)
        images = [
            item for item in inputs if item[0].suffix.lower() not in VIDEOS
        ]
        for path, name in track_iter_progress(images) if images else ():
            demo.run_image(path, name)
        for path, name in inputs:
            if path.suffix.lower() in VIDEOS:
                print(f'\n{path}')
                demo.run_video(path, name)
    except ERRORS as error:
        reason = ' '.join(str(error).split())
        sys.exit(f'\nimage_demo.py: error: {reason}')
    if not (args.no_save_vis and args.no_save_pred):
        print(f'\nWrote to {args.out_dir}')


if __name__ == '__main__':
    main()
