# Copyright (c) mmactive contributors. All rights reserved.
"""Converts checkpoints that the authors of a backbone have released.

Family and variant are recognised by names and shapes. A classifier becomes a
checkpoint for the classification configs; detectors and segmentors start from
it by ``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')``.
A dense backbone, which has a norm for each stage, becomes the state dict of a
backbone with all outputs: the same ``init_cfg`` without ``prefix``. An UperNet
of MMSegmentation 0.x becomes one of today.

The checkpoint describes itself: ``meta['model']`` is the config of the model
that ``state_dict`` fits. Files that end with .safetensors are of that format.

    python tools/model_converters/to_mmactive.py RELEASED.pth OURS.pth
    python tools/model_converters/to_mmactive.py OURS.pth THEIRS.pth --reverse
"""

import argparse
import re
from typing import Any, Dict, Optional, Tuple

import torch
from torch import Tensor

from mmactive.models.conversion import convert, revert
from mmactive.registry import MODELS
from mmactive.utils.checkpoint import load_from_local, save

StateDict = Dict[str, Tensor]

# Where training scripts put the weights, in the order of preference: papers
# report the averaged ones. The second name is timm's.
WRAPPERS = ('model_ema', 'state_dict_ema', 'model', 'state_dict')


def find_weights(
    checkpoint: Any, key: Optional[str] = None
) -> Tuple[StateDict, Optional[str]]:
    """Finds the weights in a checkpoint.

    Args:
        checkpoint (Any): What the file holds.
        key (str, optional): Where to look; the first of :data:`WRAPPERS` that
            is there by default, or else the checkpoint itself.

    Returns:
        tuple[dict[str, Tensor], str | None]: Weights by name, without the
        prefix ``module.``, and where they were.

    Raises:
        ValueError: If there are none.
    """
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'expected a dict of tensors, got {type(checkpoint).__name__}'
        )
    if key is None:
        key = next((name for name in WRAPPERS if name in checkpoint), None)
    elif key not in checkpoint:
        raise ValueError(
            f'--key: expected one of {list(map(str, checkpoint))[:8]}, got '
            f'{key!r}'
        )
    weights = checkpoint if key is None else checkpoint[key]
    if not isinstance(weights, dict) or not weights:
        raise ValueError(f'expected a dict of tensors in {key or "it"!r}')
    bad = [name for name, x in weights.items() if not isinstance(x, Tensor)]
    if bad:
        raise ValueError(f'expected tensors, but these are none: {bad}')
    return {re.sub(r'^module\.', '', k): x for k, x in weights.items()}, key


def make_backbone(
    converted: StateDict, model_cfg: dict
) -> Tuple[StateDict, dict]:
    """Takes the backbone out of a converted model.

    Args:
        converted (dict[str, Tensor]): Weights from :func:`convert`.
        model_cfg (dict): Config of their model.

    Returns:
        tuple[dict[str, Tensor], dict]: Weights and config of the backbone;
        that of a classifier has but the last norm of a dense backbone's.
    """
    if 'backbone' not in model_cfg:
        return converted, model_cfg
    cfg = dict(model_cfg['backbone'])
    cfg.pop('gap', None)
    # GFNet's norm, too, is one of classifiers alone.
    with torch.device('meta'):
        names = MODELS.build(cfg).state_dict()
    return {name: converted[f'backbone.{name}'] for name in names}, cfg


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', help='checkpoint to convert')
    parser.add_argument('dst', help='checkpoint to write')
    parser.add_argument(
        '--target',
        choices=['classifier', 'dense'],
        help='default: what SRC is; dense drops the heads',
    )
    parser.add_argument(
        '--key',
        help='which weights to take where SRC has several; default: the first '
        f'of {", ".join(WRAPPERS)}',
    )
    parser.add_argument(
        '--reverse',
        action='store_true',
        help='write a checkpoint of ours with the published names, for the '
        "authors' code",
    )
    args = parser.parse_args()
    if args.reverse and args.target:
        parser.error('--target cannot be combined with --reverse')
    return args


def main() -> None:
    """Runs the command."""
    args = parse_args()
    checkpoint = load_from_local(args.src, map_location='cpu')
    try:
        weights, key = find_weights(checkpoint, args.key)
        if args.reverse:
            state_dict, text = revert(weights)
            # Where the authors' scripts look for a network, and mmseg's for
            # a segmentor.
            whole = any(name.startswith('backbone.') for name in state_dict)
            result = {'state_dict' if whole else 'model': state_dict}
        else:
            state_dict, model_cfg, text = convert(weights)
            if args.target == 'classifier' and 'head' not in model_cfg:
                raise ValueError(
                    f'--target: expected dense for a {text}, got classifier'
                )
            if args.target == 'dense':
                state_dict, model_cfg = make_backbone(state_dict, model_cfg)
            meta = dict(model=model_cfg)
            result = dict(state_dict=state_dict, meta=meta)
    except ValueError as error:
        raise SystemExit(f'{args.src}: {error}') from None
    save(result, args.dst)

    others = [name for name in WRAPPERS if name in checkpoint and name != key]
    print(f'Recognised: {text}')
    if key is not None:
        print(f'Taken: {key!r}' + (f', not {others}' if others else ''))
    print(
        f'{len(weights)} tensors read, {len(state_dict)} written: {args.dst}'
    )


if __name__ == '__main__':
    main()
