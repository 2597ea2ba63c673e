# Copyright (c) mmactive contributors. All rights reserved.
import json
import pickle
import runpy

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmactive.engine.pictures import NEUTRAL, RIGHT, WRONG
from mmactive.utils.checkpoint import load

from .conftest import CONFIGS, TOOLS

CHECKPOINTS = dict(
    classifier='work_dirs/classifier/epoch_1.pth',
    detector='work_dirs/detector/epoch_1.pth',
    segmentor='work_dirs/segmentor/iter_2.pth',
)


@pytest.fixture
def train(workspace, run_tool):
    """Trains and returns config and checkpoint, as ``test.py`` takes them."""

    def run(task):
        run_tool('train.py', f'{task}.py', '--no-validate')
        return f'{task}.py', CHECKPOINTS[task]

    return run


def read_pickle(path):
    with open(path, 'rb') as file:
        return pickle.load(file)


def check_pairs(paths):
    """Checks that captions stand above truth and prediction."""
    pictures = [cv2.imread(str(path)) for path in paths]
    assert len(pictures) == 4
    for picture in pictures:
        height, width = picture.shape[:2]
        assert width == 2 * 128
        assert height > 128 + 10
        for caption in np.split(picture[: height - 128], 2, axis=1):
            assert (caption[:2] == NEUTRAL).all()
            assert caption.max() > 200


def test_classifier(train, run_tool, workspace):
    command = train('classifier')
    run_tool('test.py', *command, '--out', 'pred.pkl', '--show-dir', 'shown')
    predictions = read_pickle('pred.pkl')
    assert len(predictions) == 16
    # Pictures of equal names in the folders of two classes
    pictures = list((workspace / 'shown').iterdir())
    assert len(pictures) == 8
    image = cv2.imread(str(pictures[0]))
    assert image.shape[1] == 7 * 32
    assert tuple(image[0, 0, ::-1]) in (RIGHT, WRONG)

    run_tool('test.py', *command, '--out-item', 'metrics', '--out', 'm.json')
    right = sum(
        prediction['pred_label'].item() == prediction['gt_label'].item()
        for prediction in predictions
    )
    metrics = json.loads((workspace / 'm.json').read_text())
    assert metrics['accuracy/top1'] == pytest.approx(100 * right / 16)


def test_detector(train, run_tool, workspace):
    command = train('detector')
    run_tool(
        'test.py',
        *command,
        *('--work-dir', 'out', '--out', 'pred.pkl', '--show-dir', 'shown'),
    )
    predictions = read_pickle('pred.pkl')
    assert [prediction['img_id'] for prediction in predictions] == [0, 1, 2, 3]
    assert predictions[0]['pred_instances']['bboxes'].shape[1] == 4
    check_pairs(workspace.glob('out/*/shown/*.png'))


def test_segmentor(train, run_tool, workspace):
    command = train('segmentor')
    run_tool('test.py', *command, '--out', 'maps', '--show-dir', 'shown')
    for i in range(4):
        labels = cv2.imread(f'maps/{i}.png', cv2.IMREAD_UNCHANGED)
        assert labels.shape == (128, 128)
        assert labels.max() <= 1
    check_pairs(workspace.glob('shown/vis_data/vis_image/*'))


def test_classifier_tta_averages_flips_of_the_averaged_weights(
    workspace, run_tool
):
    (workspace / 'averaged.py').write_text(
        "_base_ = 'classifier.py'\n"
        'train_cfg = dict(max_epochs=2)\n'
        # Weights that hardly move, unlike those that are trained
        "custom_hooks = [dict(type='EMAHook', momentum=1e-3)]\n"
    )
    path = 'work_dirs/averaged/epoch_2.pth'
    run_tool('train.py', 'averaged.py', '--no-validate')
    run_tool('test.py', 'averaged.py', path, '--tta', '--out', 'pred.pkl')

    init_default_scope('mmpretrain')
    cfg = Config.fromfile('averaged.py')
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model).eval()
    checkpoint = load(path)
    averaged, trained = checkpoint['state_dict'], checkpoint['ema_state_dict']
    name = 'backbone.downsample_layers.0.weight'
    assert not torch.allclose(averaged[name], trained[f'module.{name}'])
    model.load_state_dict(averaged)
    for prediction in read_pickle('pred.pkl'):
        image = cv2.imread(str(prediction['img_path'])).astype(np.float32)
        views = np.stack([image, image[:, ::-1]]).transpose(0, 3, 1, 2)
        data = dict(inputs=torch.from_numpy(np.ascontiguousarray(views)))
        with torch.no_grad():
            images = model.data_preprocessor(data)['inputs']
            scores = model(images).softmax(dim=1).mean(dim=0)
        torch.testing.assert_close(prediction['pred_score'], scores)


@pytest.mark.parametrize('task', ['detector', 'segmentor'])
def test_tta(task, train, run_tool, workspace):
    command = train(task)
    outputs = []
    for tta in ([], ['--tta']):
        out = f'metrics{len(tta)}.json'
        run_tool(
            'test.py', *command, *tta, '--out-item', 'metrics', '--out', out
        )
        outputs.append(json.loads((workspace / out).read_text()))
    assert outputs[0].keys() == outputs[1].keys()


def test_tta_of_several_datasets():
    """Each keeps its own pipeline, but for its end."""
    add_tta = runpy.run_path(str(TOOLS / 'test.py'))['add_tta']
    pipelines = [
        [dict(type='LoadImageFromFile', imdecode_backend=backend), pack]
        for backend in ('cv2', 'pillow')
        for pack in [dict(type='PackInputs')]
    ]
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='ImageClassifier'),
            custom_hooks=[
                dict(type='mmpretrain.EMAHook'),
                dict(type='EarlyStoppingHook'),
            ],
            test_dataloader=dict(
                dataset=dict(
                    type='ConcatDataset',
                    datasets=[dict(pipeline=p) for p in pipelines],
                )
            ),
        )
    )
    add_tta(cfg)
    for leaf, old in zip(cfg.test_dataloader.dataset.datasets, pipelines):
        *start, views = leaf.pipeline
        assert start == old[:-1]
        assert views['type'] == 'TestTimeAug'
        assert views['transforms'][-1] == old[-1:]
    assert cfg.custom_hooks == [dict(type='EarlyStoppingHook')]

    other = [dict(type='Other')]
    cfg.update(tta_pipeline=other, model=cfg.model.module)
    add_tta(cfg)
    for leaf in cfg.test_dataloader.dataset.datasets:
        assert leaf.pipeline == other


@pytest.mark.parametrize('task', CONFIGS)
def test_checkpoint_is_required(task, workspace, run_tool):
    with pytest.raises(FileNotFoundError, match=r"checkpoint: .*'no\.pth'"):
        run_tool('test.py', f'{task}.py', 'no.pth')


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['classifier.py', '--out', 'a.txt'], r"--out: .*\.pkl.*'a\.txt'"),
        (['detector.py', '--out', 'folder'], r"--out: .*\.pkl.*'folder'"),
        (
            ['classifier.py', '--cfg-options', 'test_dataloader=None'],
            r'test_dataloader\.dataset is required',
        ),
        (
            [
                *('detector.py', '--show-dir', 'a'),
                *('--cfg-options', 'default_hooks.visualization=None'),
            ],
            r'default_hooks\.visualization is required',
        ),
    ],
)
def test_bad_input_is_named(args, message, workspace, run_tool):
    (workspace / 'any.pth').touch()
    config, *options = args
    with pytest.raises(ValueError, match=message):
        run_tool('test.py', config, 'any.pth', *options)


def test_segmentor_needs_a_tta_pipeline(workspace, run_tool):
    (workspace / 'any.pth').touch()
    text = (workspace / 'segmentor.py').read_text()
    text = text.replace('tta_pipeline', 'other')
    (workspace / 'plain.py').write_text(text)
    with pytest.raises(ValueError, match='--tta: tta_pipeline is required'):
        run_tool('test.py', 'plain.py', 'any.pth', '--tta')


def test_metrics_need_a_file(workspace, run_tool, capsys):
    (workspace / 'any.pth').touch()
    with pytest.raises(SystemExit):
        run_tool('test.py', 'detector.py', 'any.pth', '--out-item', 'metrics')
    assert '--out-item metrics needs --out' in capsys.readouterr().err
