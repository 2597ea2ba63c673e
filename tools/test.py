# Copyright (c) mmactive contributors. All rights reserved.
"""Tests a classifier, a detector or a segmentor."""

import os.path as osp
from argparse import Namespace

from mmengine import fileio
from mmengine.config import Config
from mmengine.dist import is_main_process

from mmactive.engine.launch import build_runner, set_dataloader_defaults
from mmactive.engine.options import (
    check_checkpoint,
    check_dataloader,
    get_type_name,
    iter_datasets,
    load_runner_config,
    make_runner_parser,
)


def parse_args() -> Namespace:
    """Parses the command line."""
    parser = make_runner_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument(
        '--out',
        help='where to write predictions: classification and detection, a '
        '.pkl file; segmentation, a folder of label maps',
    )
    parser.add_argument(
        '--out-item',
        choices=['pred', 'metrics'],
        default='pred',
        help='"metrics" writes the metrics to --out, a .json or .pkl file',
    )
    parser.add_argument(
        '--show', action='store_true', help='show predictions in a window'
    )
    parser.add_argument(
        '--show-dir',
        help='folder of pictures of the predictions; detection puts it into '
        'the work dir',
    )
    parser.add_argument(
        '--wait-time',
        type=float,
        default=2,
        help='seconds each window is shown',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help="augment at test time by the config's tta_model and "
        'tta_pipeline, or by flips; segmentation needs those of the config, '
        'and mmdet knows none for masks of objects',
    )
    args = parser.parse_args()
    if args.out_item == 'metrics' and args.out is None:
        parser.error('--out-item metrics needs --out')
    return args


def add_visualization(cfg: Config, args: Namespace) -> None:
    """Makes the library's visualization hook draw every image.

    Raises:
        ValueError: If the config has no such hook.
    """
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ValueError(
            '--show, --show-dir: default_hooks.visualization is required, but '
            'the config has none'
        )
    hook.update(show=args.show, wait_time=args.wait_time, interval=1)
    if cfg.default_scope == 'mmpretrain':
        hook.update(enable=True, out_dir=args.show_dir)
    elif cfg.default_scope == 'mmdet':
        hook.update(draw=True, test_out_dir=args.show_dir)
    else:
        hook.update(draw=True)
        if args.show_dir is not None:
            cfg.visualizer.save_dir = args.show_dir


def add_output(cfg: Config, out: str) -> None:
    """Makes the evaluator write predictions, as the library's tool does.

    Raises:
        ValueError: If ``out`` is not a pickle file where one is written.
    """
    evaluators = cfg.test_evaluator
    if not isinstance(evaluators, list):
        evaluators = [evaluators]
    if cfg.default_scope == 'mmseg':
        if osp.splitext(out)[1] or osp.isfile(out):
            raise ValueError(
                '--out: the predictions of a segmentor are a folder of label '
                f'maps, but got the name of a file: {out!r}'
            )
        for evaluator in evaluators:
            evaluator.update(output_dir=out, keep_results=True)
        return
    if not out.endswith(('.pkl', '.pickle')):
        raise ValueError(f'--out: expected a .pkl file, but got {out!r}')
    dump = dict(mmpretrain='DumpResults', mmdet='DumpDetResults')
    cfg.test_evaluator = [
        *evaluators,
        dict(type=dump[cfg.default_scope], out_file_path=out),
    ]


def drop_annotations(cfg: Config) -> None:
    """Leaves out labels that no evaluator compares predictions with.

    Images to segment (``test_evaluator.format_only=True``) need not have any.
    """
    evaluators = cfg.test_evaluator
    if not isinstance(evaluators, list):
        evaluators = [evaluators]
    if cfg.default_scope != 'mmseg' or not all(
        evaluator.get('format_only') for evaluator in evaluators
    ):
        return
    for dataset in iter_datasets(cfg.test_dataloader.dataset):
        dataset.pipeline = [
            step
            for step in dataset.pipeline
            if get_type_name(step) != 'LoadAnnotations'
        ]
        # Without it, mmseg looks for no label maps.
        (dataset.get('data_prefix') or {}).pop('seg_map_path', None)


def add_tta(cfg: Config) -> None:
    """Wraps the model for test-time augmentation.

    Uses the config's ``tta_model`` and ``tta_pipeline``. Classification and
    detection fall back to horizontal flips.

    Raises:
        ValueError: If the config of a segmentor lacks them, or if a detector
            predicts masks, which mmdet's ``DetTTAModel`` cannot merge.
    """
    if cfg.default_scope == 'mmseg':
        for key in ('tta_model', 'tta_pipeline'):
            if key not in cfg:
                raise ValueError(
                    f'--tta: {key} is required, but the config has none'
                )
    elif cfg.default_scope == 'mmdet':
        nms = dict(type='nms', iou_threshold=0.5)
        cfg.setdefault(
            'tta_model',
            dict(type='DetTTAModel', tta_cfg=dict(nms=nms, max_per_img=100)),
        )
        heads = dict(cfg.model, **(cfg.model.get('roi_head') or {}))
        for key in ('mask_head', 'panoptic_head'):
            if (
                heads.get(key)
                and get_type_name(cfg.tta_model) == 'DetTTAModel'
            ):
                raise ValueError(
                    '--tta: DetTTAModel merges boxes alone, but the model '
                    f'has a {key}; test it without --tta'
                )
    else:
        cfg.setdefault('tta_model', dict(type='AverageClsScoreTTA'))
    for dataset in iter_datasets(cfg.test_dataloader.dataset):
        dataset.pipeline = cfg.get('tta_pipeline') or flip_pipeline(
            dataset.pipeline, cfg.default_scope
        )
    cfg.model = dict(cfg.tta_model, module=cfg.model)
    # A checkpoint holds the averaged weights as the model's. mmpretrain's hook
    # would put its own, never loaded into the wrapped model, in their place.
    cfg.custom_hooks = [
        hook
        for hook in cfg.get('custom_hooks') or []
        if get_type_name(hook) != 'EMAHook'
    ]


def flip_pipeline(pipeline: list, scope: str) -> list:
    """Makes a test pipeline yield each image flipped and as it is."""
    pack = pipeline[-1]
    if scope == 'mmdet':
        # Boxes are flipped back by what the last two keys say.
        keys = ('img_id', 'img_path', 'ori_shape', 'img_shape')
        keys += ('scale_factor', 'flip', 'flip_direction')
        pack = dict(type='PackDetInputs', meta_keys=keys)
    flips = [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)]
    views = dict(type='TestTimeAug', transforms=[flips, [pack]])
    return [*pipeline[:-1], views]


def main() -> None:
    """Runs the command."""
    args = parse_args()
    check_checkpoint('checkpoint', args.checkpoint)
    cfg = load_runner_config(args)
    check_dataloader(cfg, 'test_dataloader')
    cfg.load_from = args.checkpoint
    # What divides a model among processes is for training.
    if cfg.pop('strategy', None):
        cfg.pop('runner_type', None)
    set_dataloader_defaults(cfg)
    drop_annotations(cfg)
    if args.show or args.show_dir is not None:
        add_visualization(cfg, args)
    if args.tta:
        add_tta(cfg)
    if args.out is not None and args.out_item == 'pred':
        add_output(cfg, args.out)
    metrics = build_runner(cfg).test()
    if args.out_item == 'metrics' and is_main_process():
        fileio.dump(metrics, args.out)


if __name__ == '__main__':
    main()
