# Copyright (c) mmactive contributors. All rights reserved.
"""Converts checkpoints that the authors of ActiveMLP have released.

A classifier becomes a checkpoint for the classification configs; detectors and
segmentors start from it by ``init_cfg=dict(type='Pretrained', checkpoint=...,
prefix='backbone.')``. A dense backbone, which has a norm for each stage,
becomes the state dict of an ``ActiveMLP`` with ``out_indices=(0, 1, 2, 3)``:
the same ``init_cfg`` without ``prefix``.
"""

import argparse
import os
import os.path as osp
import re
import tempfile
from collections import Counter
from typing import Any, Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from mmactive.models import ActiveMLP
from mmactive.utils.checkpoint import load_from_local

StateDict = Dict[str, Tensor]

# Where training scripts put the weights, in the order of preference: the
# paper reports the averaged ones. The second name is timm's.
WRAPPERS = ('model_ema', 'state_dict_ema', 'model', 'state_dict')

# Patterns of released names and what they become. Numbers of stages and blocks
# stay the same, except that a downsampling belongs to the stage it leads to.
NAMES = {
    r'patch_embed\.proj': 'backbone.downsample_layers.0',
    r'pos_blocks\.(\d+)\.proj': r'backbone.stages.\1.peg',
    r'blocks\.(\d+)\.(\d+)\.(norm[12]|offset_layer\.[01])': (
        r'backbone.stages.\1.blocks.\2.\3'
    ),
    r'blocks\.(\d+)\.(\d+)\.atm\.atm_([whc])': (
        r'backbone.stages.\1.blocks.\2.mixer.fc_\3'
    ),
    r'blocks\.(\d+)\.(\d+)\.atm\.(fusion\.fc[12]|proj)': (
        r'backbone.stages.\1.blocks.\2.mixer.\3'
    ),
    r'blocks\.(\d+)\.(\d+)\.mlp\.(fc[12])': (
        r'backbone.stages.\1.blocks.\2.ffn.\3'
    ),
    r'blocks\.(\d+)\.\d+\.downsample\.proj': lambda match: (
        f'backbone.downsample_layers.{int(match[1]) + 1}'
    ),
    r'norm_(\d+)': r'backbone.norm\1',
    r'norm': 'backbone.norm3',
    r'head': 'head.fc',
}


def unwrap(
    checkpoint: Any, key: Optional[str] = None
) -> Tuple[StateDict, Optional[str]]:
    """Finds the weights in a checkpoint.

    Args:
        checkpoint (Any): What the file holds.
        key (str, optional): Where to look; the first of :data:`WRAPPERS` that
            is there by default, or else the checkpoint itself.

    Returns:
        tuple[dict[str, Tensor], str | None]: Weights by released name, without
        the prefix ``module.``, and where they were.

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


def rename(name: str) -> Optional[str]:
    """Translates a released name, None if it is unknown."""
    module, _, parameter = name.rpartition('.')
    for pattern, new_name in NAMES.items():
        match = re.fullmatch(pattern, module)
        if match and parameter in ('weight', 'bias'):
            return re.sub(pattern, new_name, module) + f'.{parameter}'
    return None


def convert(weights: StateDict) -> Tuple[StateDict, str]:
    """Translates all weights of one of the authors' models.

    Args:
        weights (dict[str, Tensor]): Weights by released name.

    Returns:
        tuple[dict[str, Tensor], str]: Weights of a classifier of mmpretrain
        (``backbone.``, ``head.``), or of its backbone alone, and the variant.

    Raises:
        ValueError: If a name is unknown, or if names and shapes are not those
            of a variant. The error lists them.
    """
    unknown = [name for name in weights if rename(name) is None]
    if unknown:
        raise ValueError(f'unknown parameters: {unknown}')
    arch = recognize(weights)
    converted = {}
    for name, weight in weights.items():
        if re.search(r'\.atm_[wh]\.weight$', name):
            # 1x1 convolutions, of which a linear layer is the same
            weight = weight.flatten(1) if weight[0, 0].numel() == 1 else weight
        # The clone leaves behind whatever shares the memory.
        converted[rename(name)] = weight.clone()
    check_layout(converted, arch)
    return converted, arch


def recognize(weights: StateDict) -> str:
    """Recognizes the variant by its number of blocks.

    Raises:
        ValueError: If no variant has these numbers.
    """
    blocks = {
        match.groups()
        for name in weights
        if (match := re.match(r'blocks\.(\d+)\.(\d+)\.', name))
    }
    counts = Counter(int(stage) for stage, _ in blocks)
    depths = [counts[stage] for stage in sorted(counts)]
    known = {k: v['depths'] for k, v in ActiveMLP.arch_settings.items()}
    for arch, arch_depths in known.items():
        if depths == arch_depths:
            return arch
    raise ValueError(
        f'unknown variant: expected as many blocks as one of {known}, got '
        f'{depths}'
    )


def check_layout(converted: StateDict, arch: str) -> None:
    """Compares names and shapes with those of our model.

    Raises:
        ValueError: If there is a difference. The error lists them all.
    """
    dense = 'backbone.norm0.weight' in converted
    backbone = ActiveMLP(arch, out_indices=(0, 1, 2, 3) if dense else (3,))
    expected = {f'backbone.{k}': x for k, x in backbone.state_dict().items()}
    if not dense:
        classes = converted.get('head.fc.bias', torch.empty(0)).numel()
        fc = nn.Linear(backbone.arch['dims'][-1], classes)
        expected.update(
            {f'head.fc.{k}': x for k, x in fc.state_dict().items()}
        )
    problems: List[str] = []
    for name in {**expected, **converted}:
        if name not in converted:
            problems.append(f'{name} is missing')
        elif name not in expected:
            problems.append(f'{name} is too much')
        elif converted[name].shape != expected[name].shape:
            problems.append(
                f'{name}: expected {tuple(expected[name].shape)}, got '
                f'{tuple(converted[name].shape)}'
            )
    if problems:
        kind = 'dense backbone' if dense else 'classifier'
        raise ValueError(
            f'not the {kind} of variant {arch!r}:\n  ' + '\n  '.join(problems)
        )


def retarget(converted: StateDict, target: Optional[str]) -> StateDict:
    """Makes the state dict of a classifier or of a dense backbone.

    Args:
        converted (dict[str, Tensor]): Weights from :func:`convert`.
        target (str, optional): 'classifier', 'dense' or what ``converted`` is.

    Returns:
        dict[str, Tensor]: Weights of the target. A dense backbone out of a
        classifier has but the last of its norms.

    Raises:
        ValueError: If a classifier is wanted and there is no head.
    """
    is_classifier = 'head.fc.weight' in converted
    if target is None:
        target = 'classifier' if is_classifier else 'dense'
    if target == 'classifier':
        if not is_classifier:
            raise ValueError(
                '--target: expected dense, since the checkpoint is a dense '
                'backbone without a head, got classifier'
            )
        return converted
    prefix = 'backbone.'
    return {
        name[len(prefix) :]: weight
        for name, weight in converted.items()
        if name.startswith(prefix)
    }


def save(checkpoint: dict, path: str) -> None:
    """Saves a checkpoint all at once, so that none is ever half written."""
    folder = osp.dirname(osp.abspath(path))
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, suffix='.tmp')
    try:
        with os.fdopen(handle, 'wb') as file:
            torch.save(checkpoint, file)
        os.replace(temporary, path)
    except BaseException:
        os.remove(temporary)
        raise


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', help='checkpoint of the authors')
    parser.add_argument('dst', help='checkpoint to write')
    parser.add_argument(
        '--target',
        choices=['classifier', 'dense'],
        help='default: what SRC is; dense drops the head of a classifier',
    )
    parser.add_argument(
        '--key',
        help='which weights to take where SRC has several; default: the first '
        f'of {", ".join(WRAPPERS)}',
    )
    return parser.parse_args()


def main() -> None:
    """Runs the command."""
    args = parse_args()
    # Training scripts save their arguments too. It is but a bag of values.
    torch.serialization.add_safe_globals([argparse.Namespace])
    checkpoint = load_from_local(args.src, map_location='cpu')
    try:
        weights, key = unwrap(checkpoint, args.key)
        converted, arch = convert(weights)
        state_dict = retarget(converted, args.target)
    except ValueError as error:
        raise SystemExit(f'{args.src}: {error}') from None
    save(dict(state_dict=state_dict, meta=dict(arch=arch)), args.dst)

    others = [name for name in WRAPPERS if name in checkpoint and name != key]
    dropped = len(converted) - len(state_dict)
    print(f'Variant: ActiveMLP {arch}')
    if key is not None:
        print(f'Taken: {key!r}' + (f', not {others}' if others else ''))
    print(
        f'{len(state_dict)} of {len(weights)} parameters converted'
        + (', the head dropped' if dropped else '')
        + f': {args.dst}'
    )


if __name__ == '__main__':
    main()
