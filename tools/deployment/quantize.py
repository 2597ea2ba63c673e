# Copyright (c) mmactive contributors. All rights reserved.
"""Quantizes an exported ONNX model to int8, for ONNX Runtime on a CPU.

    python tools/deployment/quantize.py CONFIG model.onnx model_int8.onnx
    python tools/deployment/quantize.py CONFIG model.onnx model_int8.onnx \
        --mode dynamic

tools/deployment/test.py tells what it costs in accuracy.
"""

import argparse
import os.path as osp
import sys
from typing import Iterator

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from mmengine.utils import track_iter_progress

import mmactive  # noqa: F401
from mmactive.engine.deployment import ExportedModel, make_exported_cfg
from mmactive.engine.launch import set_dataloader_defaults
from mmactive.engine.options import (
    check_dataloader,
    load_config,
    make_parser,
)
from mmactive.utils.dependencies import is_installed
from mmactive.utils.files import write_atomically


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('model', help='.onnx file of tools/deployment/export')
    parser.add_argument('out', help='.onnx file to write')
    parser.add_argument(
        '--mode',
        choices=['static', 'dynamic'],
        default='static',
        help='find the ranges of activations on images of val_dataloader '
        '(default), or at run time',
    )
    parser.add_argument(
        '--num-images',
        type=int,
        default=64,
        help='images to find ranges on (default: 64)',
    )
    args = parser.parse_args()
    if args.num_images < 1:
        parser.error(
            f'--num-images: expected 1 or more, got {args.num_images}'
        )
    return args


def iter_images(
    cfg: Config, model: ExportedModel, num: int
) -> Iterator[np.ndarray]:
    """Yields what a model takes of the validation data of a config."""
    dataset = Runner.build_dataloader(cfg.val_dataloader).dataset
    indices = np.linspace(0, len(dataset) - 1, min(num, len(dataset)))
    for index in track_iter_progress(indices.astype(int).tolist()):
        data = pseudo_collate([dataset[index]])
        yield model.prepare(data)[0][None].numpy()


def main() -> None:
    """Runs the command."""
    args = parse_args()
    if not is_installed('onnxruntime'):
        raise ValueError(
            'onnxruntime is not installed: pip install onnx onnxruntime'
        )
    # Not before: it needs onnxruntime.
    from mmactive.engine.deployment.quantization import (
        count_quantized,
        quantize,
    )

    for name in ('model', 'out'):
        path = getattr(args, name)
        if osp.splitext(path)[1] != '.onnx':
            raise ValueError(f'{name}: expected an .onnx file, got {path!r}')
    cfg = load_config(args)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(make_exported_cfg(cfg, args.model))
    batches = None
    if args.mode == 'static':
        check_dataloader(cfg, 'val_dataloader')
        set_dataloader_defaults(cfg)
        batches = iter_images(cfg, model, args.num_images)
    content = quantize(args.model, batches)
    num = count_quantized(content)
    if num == 0:
        raise ValueError(f'{args.model}: there is no layer to quantize')
    write_atomically(args.out, content)
    sizes = [osp.getsize(path) / 2**20 for path in (args.model, args.out)]
    print(
        f'wrote {args.out}: {num} layers of int8, {sizes[1]:.1f} MiB instead '
        f'of {sizes[0]:.1f}'
    )


if __name__ == '__main__':
    try:
        main()
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
