# Copyright (c) mmactive contributors. All rights reserved.
"""Exports the inference of a model to ONNX or AOTInductor.

The result is compared with PyTorch, on images of another size and in another
number than it was exported with, and is written only if it agrees.

    python tools/deployment/export.py CONFIG CHECKPOINT model.onnx
    python tools/deployment/export.py CONFIG CHECKPOINT model.pt2 --device cuda
"""

import argparse
import itertools
import os
import os.path as osp
import sys
import tempfile
from typing import Iterable, Iterator, List, Optional, Sequence, Tuple

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from torch import Tensor

import mmactive  # noqa: F401
from mmactive.engine.checks.checkpoint import loading
from mmactive.engine.deployment import (
    compare,
    export_aoti,
    export_onnx,
    load_exported,
    make_exportable,
)
from mmactive.engine.deployment.models import Exportable, get_fixed_size
from mmactive.engine.options import (
    TASKS,
    check_checkpoint,
    load_config,
    make_parser,
)
from mmactive.utils.dependencies import is_installed
from mmactive.utils.files import write_atomically


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument(
        'out',
        help='file to write: .onnx for ONNX, .pt2 for a package of '
        'AOTInductor',
    )
    parser.add_argument(
        '--backbone',
        action='store_true',
        help='export the backbone alone',
    )
    parser.add_argument(
        '--normalized',
        action='store_true',
        help='take images as the data preprocessor returns them; default: '
        'pixels from 0 to 255, as it takes them',
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        default=[224],
        metavar=('H', 'W'),
        help='size of the images that the model is exported with, one number '
        'for a square (default: 224); it may be given others later',
    )
    parser.add_argument(
        '--fixed-size',
        action='store_true',
        help='make a model for images of --shape only',
    )
    parser.add_argument(
        '--device',
        choices=['cpu', 'cuda'],
        default='cpu',
        help='what a .pt2 is compiled for (default: cpu)',
    )
    parser.add_argument(
        '--image',
        nargs='+',
        help='images to compare on; default: one of scikit-learn',
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest difference from PyTorch, relative where numbers are '
        'above 1 (default: 1e-4)',
    )
    args = parser.parse_args()
    if len(args.shape) > 2 or min(args.shape) < 1:
        parser.error(
            f'--shape: expected one or two positive numbers, got {args.shape}'
        )
    args.suffix = osp.splitext(args.out)[1]
    if args.suffix not in ('.onnx', '.pt2'):
        parser.error(f'out: expected an .onnx or .pt2 file, got {args.out!r}')
    if args.suffix == '.onnx' and args.device != 'cpu':
        parser.error('--device: an .onnx file is for any, give it for a .pt2')
    return args


def check_packages(args: argparse.Namespace) -> None:
    """Checks that what an export needs is installed.

    Raises:
        ValueError: If a package or the device is missing.
    """
    needed = ['onnx', 'onnxruntime'] if args.suffix == '.onnx' else []
    for name in needed + ([] if args.image else ['sklearn']):
        if not is_installed(name):
            package = {'sklearn': 'scikit-learn'}.get(name, name)
            hint = ', or name an --image' if name == 'sklearn' else ''
            raise ValueError(
                f'{package} is not installed: pip install {package}{hint}'
            )
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise ValueError('--device: PyTorch sees no GPU')


def load_images(paths: Optional[List[str]]) -> List[np.ndarray]:
    """Loads images, that of scikit-learn if there are no paths.

    Raises:
        ValueError: If a file is none.
    """
    if paths is None:
        import sklearn.datasets

        folder = osp.dirname(sklearn.datasets.__file__)
        paths = [osp.join(folder, 'images', 'china.jpg')]
    images = [cv2.imread(path) for path in paths]
    for path, image in zip(paths, images):
        if image is None:
            raise ValueError(f'--image: {path!r} is no image that can be read')
    return images


def make_images(
    image: np.ndarray, num: int, size: Sequence[int], channels: int
) -> Tensor:
    """Makes a batch (N, C, H, W) of an image, its mirror image, and parts."""
    height, width = size
    parts = [image, image[:, ::-1], image[: len(image) // 2]]
    batch = np.stack([cv2.resize(x, (width, height)) for x in parts[:num]])
    images = torch.from_numpy(batch).permute(0, 3, 1, 2).float()
    return images[:, torch.arange(channels) % 3].contiguous()


def build_module(args: argparse.Namespace, cfg: Config) -> Exportable:
    """Builds the model of a config, with the weights of the checkpoint."""
    init_default_scope(cfg.default_scope)
    if cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    cfg.model.train_cfg = None
    model = MODELS.build(cfg.model)
    with loading(all_models=True):
        load_checkpoint(model, args.checkpoint, map_location='cpu')
    model.to(args.device).eval()
    return make_exportable(
        model, cfg.default_scope, args.backbone, args.normalized
    )


def export(
    args: argparse.Namespace,
    module: Exportable,
    images: Tensor,
    metadata: dict,
    path: str,
) -> None:
    """Exports a module to a file."""
    is_dynamic = not metadata['size']
    if args.suffix == '.onnx':
        content = export_onnx(module, images, metadata, is_dynamic)
        write_atomically(path, content)
    else:
        export_aoti(module, images, metadata, path, is_dynamic)


def check(
    module: Exportable,
    path: str,
    batches: Iterable[Tensor],
    args: argparse.Namespace,
) -> None:
    """Compares what was exported with PyTorch, and prints differences.

    Raises:
        RuntimeError: If it does not run, or if a difference is too large.
    """
    exported = load_exported(path, num_threads=torch.get_num_threads())
    for images in batches:
        expected = module.predict(images)
        shape = 'x'.join(map(str, images.shape))
        try:
            actual = exported(images)
        except Exception as error:
            raise RuntimeError(
                f'does not run on {shape}: {str(error).splitlines()[0]}'
            ) from error
        differences = compare(actual, expected)
        if 'labels' in expected:
            shape += f', {(expected["labels"] >= 0).sum()} objects'
        text = ', '.join(f'{k} {v:.1e}' for k, v in differences.items())
        print(f'{shape}: largest difference from PyTorch of {text}')
        for name, value in differences.items():
            if not value <= args.tolerance:
                raise RuntimeError(
                    f'{name} differ by {value:.1e} from those of PyTorch, '
                    f'more than --tolerance {args.tolerance:g}'
                )


def main() -> None:
    """Runs the command."""
    args = parse_args()
    check_packages(args)
    check_checkpoint('checkpoint', args.checkpoint)
    photographs = load_images(args.image)
    cfg = load_config(args)
    module = build_module(args, cfg)
    preprocessor = module.model.data_preprocessor
    fixed_size = get_fixed_size(module)
    if args.fixed_size:
        fixed_size = fixed_size or [args.shape[0], args.shape[-1]]
    size = fixed_size or [args.shape[0], args.shape[-1]]
    metadata = dict(
        task='features' if args.backbone else TASKS[cfg.default_scope],
        config=osp.basename(args.config),
        outputs=module.output_names,
        normalized=args.normalized,
        channels='any' if args.normalized else 'as the config loads them',
        size=fixed_size,
        device=args.device,
        align_corners=getattr(module.model, 'align_corners', False),
    )
    # The loop over images becomes part of a compiled program.
    is_single = args.suffix == '.pt2' and metadata['task'] == 'detection'
    metadata['batch'] = 1 if is_single else None
    few, many = (1, 1) if is_single else (2, 3)
    channels = cfg.model.backbone.get('in_channels', 3)

    def make_batches(
        *shapes: Tuple[int, Sequence[int]],
    ) -> Iterator[Tensor]:
        for image, (num, size) in itertools.product(photographs, shapes):
            images = make_images(image, num, size, channels).to(args.device)
            if args.normalized:
                data = dict(inputs=list(images), data_samples=None)
                images = preprocessor(data)['inputs']
            yield images

    example = next(make_batches((few, size)))

    folder = osp.dirname(osp.abspath(args.out))
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = osp.join(temporary, f'model{args.suffix}')
        others = [length * 5 // 4 + i for i, length in enumerate(size, 1)]
        try:
            if not fixed_size:
                export(args, module, example, metadata, path)
                batches = make_batches((1, size), (many, others))
                check(module, path, batches, args)
        except RuntimeError as error:
            print(f'not for any size: {error}')
            fixed_size = size
        if fixed_size:
            metadata['size'] = fixed_size
            export(args, module, example, metadata, path)
            batches = make_batches((1, size), (many, size))
            check(module, path, batches, args)
        os.replace(path, args.out)
    text = f'{fixed_size[0]} x {fixed_size[1]}' if fixed_size else 'any size'
    print(f'wrote {args.out}, for images of {text}')


if __name__ == '__main__':
    try:
        main()
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
