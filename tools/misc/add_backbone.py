# Copyright (c) mmactive contributors. All rights reserved.
"""Puts a backbone into all tables: writes a config for each method.

BACKBONE is a config that describes a backbone, as those in
``configs/_base_/backbones/`` do:

    backbone = dict(type='mmactive.MyNet', depth=50)
    channels = [64, 128, 320, 512]  # of the four stages
    init_cfg = dict(type='Pretrained', checkpoint='my-net_in1k.pth')

The class takes ``out_indices`` and ``drop_path_rate``, and its outputs of
strides 4, 8, 16 and 32 come as a tuple. Without weights, ``init_cfg`` is None.
"""

import argparse
import os
from pathlib import Path
from typing import Dict

from mmengine.config import Config

import mmactive  # noqa: F401

CLASSIFIER = """\
model = dict(
    backbone=dict(_base_.backbone, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=_base_.channels[-1]),
)
"""
DENSE = """\
model = dict(
    backbone=dict(_base_.backbone, init_cfg=_base_.init_cfg),
{}
)
"""
FOUR_STAGES = DENSE.format('    neck=dict(in_channels=_base_.channels),')
THREE_STAGES = DENSE.format('    neck=dict(in_channels=_base_.channels[1:]),')
UPERNET = DENSE.format("""\
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]),""")
# What joins a backbone with the methods of configs/_base_/methods, by the
# names of the configs
BODIES = {
    '{}_8xb128_in1k': CLASSIFIER,
    'fpn_{}_8xb4-40k_ade20k-512x512': FOUR_STAGES,
    'upernet_{}_8xb2-160k_ade20k-512x512': UPERNET,
    'mask-rcnn_{}_fpn_1x_coco': FOUR_STAGES,
    'mask-rcnn_{}_fpn_ms-1x_coco': FOUR_STAGES,
    'mask-rcnn_{}_fpn_ms-3x_coco': FOUR_STAGES,
    'cascade-mask-rcnn_{}_fpn_ms-1x_coco': FOUR_STAGES,
    'cascade-mask-rcnn_{}_fpn_ms-3x_coco': FOUR_STAGES,
    'retinanet_{}_fpn_1x_coco': THREE_STAGES,
    'retinanet_{}_fpn_ms-3x_coco': THREE_STAGES,
}


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'backbone',
        type=Path,
        help='config of the backbone; its name becomes part of theirs',
    )
    parser.add_argument('out_dir', type=Path, help='folder to write to')
    return parser.parse_args()


def check_backbone(path: Path) -> None:
    """Checks that a file describes a backbone.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it lacks something. The error names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f'backbone: there is no file {str(path)!r}')
    cfg = Config.fromfile(path)
    for name in ('backbone', 'channels', 'init_cfg'):
        if name not in cfg:
            raise ValueError(
                f'{path}: expected backbone, channels and init_cfg, but there '
                f'is no {name}'
            )
    if len(cfg.channels) != 4:
        raise ValueError(
            f'{path}: channels must be those of four stages, but got '
            f'{cfg.channels}'
        )


def make_configs(backbone: Path, out_dir: Path) -> Dict[str, str]:
    """Makes the configs of all methods with a backbone.

    Args:
        backbone (Path): Config of the backbone.
        out_dir (Path): Folder that they are for.

    Returns:
        dict[str, str]: Texts by file names.
    """
    link = os.path.relpath(backbone, out_dir)
    configs = {}
    for name, body in BODIES.items():
        method = name.replace('_{}_', '_').replace('{}_', '')
        configs[f'{name.format(backbone.stem)}.py'] = (
            f"_base_ = [\n    'mmactive::_base_/methods/{method}.py',\n"
            f"    './{link}',\n]\n\n{body}"
        )
    return configs


def main() -> None:
    """Runs the command."""
    args = parse_args()
    check_backbone(args.backbone)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    configs = make_configs(args.backbone, args.out_dir)
    present = [name for name in configs if (args.out_dir / name).exists()]
    if present:
        raise FileExistsError(
            f'{args.out_dir / present[0]} is there already, and is not '
            'overwritten'
        )
    for name, text in configs.items():
        (args.out_dir / name).write_text(text)
        print(f'wrote {args.out_dir / name}')


if __name__ == '__main__':
    main()
