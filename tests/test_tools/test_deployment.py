# Copyright (c) mmactive contributors. All rights reserved.
"""Exported models do what the libraries' own code does."""

import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from .conftest import ARCH, ROOT

pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
datasets = pytest.importorskip('sklearn.datasets')

EXPORT, TEST = 'deployment/export.py', 'deployment/test.py'
DIMS = [16, 16, 32, 32]

# Narrow models of all methods. Untrained, they find something everywhere.
TWO_STAGE = f"""
_base_ = '{ROOT}/configs/_base_/methods/%s.py'
custom_imports = dict(imports=['mmactive'])
model = dict(
    backbone=dict(
        _delete_=True, type='mmactive.ActiveMLP', arch={ARCH},
        out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels={DIMS}, out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=%s,
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(
            num_convs=1, in_channels=16, conv_out_channels=16,
            num_classes=3)),
    test_cfg=dict(
        rpn=dict(nms_pre=200, max_per_img=50),
        rcnn=dict(score_thr=0.1, max_per_img=20)))
"""
BBOX_HEAD = 'dict(in_channels=16, fc_out_channels=32, num_classes=3)'
CASCADE_HEAD = """[
    dict(
        type='Shared2FCBBoxHead', in_channels=16, fc_out_channels=32,
        roi_feat_size=7, num_classes=3, reg_class_agnostic=True,
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4,
            target_stds=[std, std, 2 * std, 2 * std]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0))
    for std in (0.1, 0.05, 0.033)]"""
METHODS = dict(
    mask_rcnn=TWO_STAGE % ('mask-rcnn_fpn_1x_coco', BBOX_HEAD),
    cascade=TWO_STAGE % ('cascade-mask-rcnn_fpn_ms-1x_coco', CASCADE_HEAD),
    upernet=f"""
_base_ = '{ROOT}/configs/_base_/methods/upernet_8xb2-160k_ade20k-512x512.py'
custom_imports = dict(imports=['mmactive'])
norm_cfg = dict(type='BN')
model = dict(
    backbone=dict(
        _delete_=True, type='mmactive.ActiveMLP', arch={ARCH},
        out_indices=(0, 1, 2, 3)),
    decode_head=dict(
        in_channels={DIMS}, channels=16, num_classes=5, norm_cfg=norm_cfg),
    auxiliary_head=None)
""",
)


def build(config):
    """Builds the model of a config as the libraries do, in eval mode."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for name, weight in model.named_parameters():
        if name.endswith('weight') and weight.dim() > 1:
            # Outputs that depend on the image, and boxes of all sizes
            std = weight[0].numel() ** -0.5 * (0.1 if 'reg' in name else 1)
            torch.nn.init.normal_(weight, std=std)
    return model.eval()


@pytest.fixture
def make(workspace):
    """Writes a config of a method, and a checkpoint of it."""

    def make(method):
        config = f'{method}.py'
        if method in METHODS:
            (workspace / config).write_text(METHODS[method])
        model = build(config)
        torch.save(dict(state_dict=model.state_dict()), 'model.pth')
        return config, model

    return make


def load_images(num, size):
    """Real images: the parts of one, as lists of (C, H, W), uint8."""
    image = datasets.load_sample_image('flower.jpg')[..., ::-1]
    height, width = size
    images = [
        cv2.resize(image[100 * i :], (width, height)) for i in range(num)
    ]
    return [torch.from_numpy(x).permute(2, 0, 1) for x in images]


def run(path, images):
    """Runs an ONNX file on images, by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(path)
    images = np.stack([x.numpy() for x in images]).astype(np.float32)
    outputs = session.run(None, {'images': images})
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, outputs)))


def predict_scores(model, images):
    """What a classifier of mmpretrain predicts."""
    with torch.no_grad():
        inputs = model.data_preprocessor(dict(inputs=images))['inputs']
        samples = model.predict(inputs)
    return torch.stack([sample.pred_score for sample in samples])


def find_blocks():
    """The code of the page: language and text of each block."""
    text = (ROOT / 'docs/en/deployment.md').read_text()
    return re.findall(r'^```(bash|python)\n(.*?)^```', text, re.M | re.S)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_classifier(make, run_tool, capsys):
    config, model = make('classifier')
    run_tool(EXPORT, config, 'model.pth', 'c.onnx', '--shape', 64)
    assert 'wrote c.onnx, for images of any size' in capsys.readouterr().out
    images = load_images(3, (50, 83))
    scores = run('c.onnx', images)['scores']
    assert scores.std() > 0.01
    close(scores, predict_scores(model, images))


@pytest.mark.slow
def test_package(make, run_tool, start_process, capsys):
    """That of AOTInductor, loaded by the page's code in a new process."""
    config, model = make('classifier')
    run_tool(EXPORT, config, 'model.pth', 'model.pt2', '--shape', 64)
    assert 'wrote model.pt2, for images of any size' in capsys.readouterr().out
    images = load_images(3, (50, 83))
    torch.save(torch.stack(images).float(), 'images.pt')
    code = next(text for _, text in find_blocks() if 'aoti_load' in text)
    code += "torch.save(model(torch.load('images.pt')), 'scores.pt')"
    start_process(sys.executable, '-c', code)
    close(torch.load('scores.pt'), predict_scores(model, images))
    run_tool(TEST, config, 'model.pt2')
    assert 'ms an image' in capsys.readouterr().out


def test_backbone_of_normalized_images(make, run_tool):
    config, model = make('detector')
    options = ('--backbone', '--normalized', '--shape', 64, 96)
    run_tool(EXPORT, config, 'model.pth', 'b.onnx', *options)
    images = torch.randn(3, 3, 75, 101)
    with torch.no_grad():
        features = model.backbone(images)
    outputs = run('b.onnx', images)
    assert list(outputs) == [f'feature{i}' for i in range(4)]
    for output, feature in zip(outputs.values(), features):
        close(output, feature)


@pytest.mark.parametrize('method', ['segmentor', 'upernet'])
def test_segmentor(method, make, run_tool):
    config, model = make(method)
    run_tool(EXPORT, config, 'model.pth', 's.onnx', '--shape', 96, 128)
    images = load_images(2, (70, 130))
    with torch.no_grad():
        inputs = model.data_preprocessor(dict(inputs=images))['inputs']
        samples = model.predict(inputs)
    logits = run('s.onnx', images)['logits']
    assert logits.shape[2:] == (70, 130)
    close(logits, torch.stack([x.seg_logits.data for x in samples]))


@pytest.mark.parametrize('method', ['detector', 'mask_rcnn', 'cascade'])
def test_detector(method, make, run_tool):
    from mmdet.structures import DetDataSample

    config, model = make(method)
    run_tool(EXPORT, config, 'model.pth', 'd.onnx', '--shape', 96, 128)
    size = (150, 117)
    images = load_images(3, size)
    metainfo = dict(ori_shape=size, img_shape=size, scale_factor=(1.0, 1.0))
    samples = [DetDataSample(metainfo=dict(metainfo)) for _ in images]
    with torch.no_grad():
        samples = model.test_step(dict(inputs=images, data_samples=samples))
    outputs = run('d.onnx', images)
    for i, sample in enumerate(samples):
        objects = sample.pred_instances
        num = len(objects)
        assert num > 5
        assert (outputs['labels'][i, :num] == objects.labels).all()
        close(outputs['boxes'][i, :num] / 150, objects.bboxes / 150)
        close(outputs['scores'][i, :num], objects.scores)
        assert (outputs['labels'][i, num:] == -1).all()
        if method != 'detector':
            masks = outputs['masks'][i, :num]
            assert 0.01 < masks.float().mean() < 0.99
            assert (masks != objects.masks).float().mean() < 1e-4
            assert not outputs['masks'][i, num:].any()


@pytest.mark.parametrize('method', ['retinanet', 'mask-rcnn'])
@pytest.mark.slow
def test_detector_on_coco(
    method, make, run_tool, data_folder, capsys, monkeypatch
):
    """A published config; the tool compares with mmdet, as above."""
    name = f'coco/{method}_activemlp-xtiny_fpn_1x_coco.py'
    text = (
        f"_base_ = '{ROOT}/configs/{name}'\n"
        'model = dict(backbone=dict(init_cfg=None))\n'
    )
    monkeypatch.setitem(METHODS, method, text)
    config, _ = make(method)
    paths = sorted((data_folder / 'coco128' / 'val2017').glob('*.jpg'))
    options = ('--shape', 240, 320, '--image', *paths[:4])
    run_tool(EXPORT, config, 'model.pth', 'd.onnx', *options)
    out = capsys.readouterr().out
    assert 'wrote d.onnx, for images of any size' in out
    nums = [int(num) for num in re.findall(r', (\d+) objects', out)]
    assert len(nums) == 8
    assert min(nums) > 5


@pytest.mark.parametrize(
    ('family', 'arch', 'size'),
    [
        ('ASMLP', 'tiny', None),
        ('CycleMLP', 'b1', None),
        ('CPVT', 'tiny', None),
        ('EAMLP', '14', 224),
        ('GFNet', 'h-tiny', None),
        ('MorphMLP', 'tiny', None),
        ('P2T', 'tiny', None),
        ('S2MLP', 'wide', None),
        ('ShiftViT', 'tiny', None),
        ('ViP', 'small', 224),
        ('WaveMLP', 'small', None),
    ],
)
@pytest.mark.slow
def test_other_backbones(family, arch, size, make, run_tool, capsys):
    from mmactive import models

    dims = getattr(models, family).arch_settings[arch]['dims'][-1]
    backbone = dict(_delete_=True, type=f'mmactive.{family}', arch=arch)
    METHODS['other'] = (
        "_base_ = 'classifier.py'\n"
        f'model = dict(backbone=dict(gap=True, **{backbone}),\n'
        f'    head=dict(in_channels={dims}))\n'
    )
    config, model = make('other')
    shape = size or 128
    run_tool(EXPORT, config, 'model.pth', 'c.onnx', '--shape', shape)
    kind = f'{size} x {size}' if size else 'any size'
    assert f'for images of {kind}' in capsys.readouterr().out
    images = load_images(3, (size, size) if size else (100, 140))
    close(run('c.onnx', images)['scores'], predict_scores(model, images))


@pytest.mark.parametrize('method', ['classifier', 'detector', 'segmentor'])
def test_quantized(method, make, run_tool, capsys):
    config, _ = make(method)
    run_tool(EXPORT, config, 'model.pth', 'm.onnx', '--shape', 64)
    tool = 'deployment/quantize.py'
    run_tool(tool, config, 'm.onnx', 'static.onnx', '--num-images', 4)
    run_tool(tool, config, 'm.onnx', 'dynamic.onnx', '--mode', 'dynamic')
    nums = re.findall(r': (\d+) layers of int8', capsys.readouterr().out)
    # The latter leaves convolutions as they are.
    assert int(nums[0]) > int(nums[1]) > 10
    images = load_images(2, (64, 64))
    name = 'logits' if method == 'segmentor' else 'scores'
    expected = run('m.onnx', images)[name]
    for path in ('static.onnx', 'dynamic.onnx'):
        error = (run(path, images)[name] - expected).abs().max()
        assert 1e-6 < error / expected.max() < 0.1


@pytest.mark.parametrize(
    ('method', 'metric'),
    [
        ('classifier', 'accuracy/top1'),
        ('detector', 'coco/bbox_mAP'),
        ('segmentor', 'mIoU'),
    ],
)
def test_metrics_are_those_of_the_model(method, metric, make, run_tool):
    """What ``tools/test.py`` measures of the checkpoint."""
    config, _ = make(method)
    run_tool(EXPORT, config, 'model.pth', 'm.onnx', '--shape', 64)
    folders = []
    for tool, model in (('test.py', 'model.pth'), (TEST, 'm.onnx')):
        folders.append(Path(tool.replace('/', '_')))
        run_tool(tool, config, model, '--work-dir', folders[-1])
    metrics = [
        json.loads(next(folder.glob('*/*.json')).read_text())
        for folder in folders
    ]
    assert metrics[0][metric] == pytest.approx(metrics[1][metric], abs=0.01)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['no.pth', 'm.onnx'], "checkpoint: there is no file 'no.pth'"),
        (['model.pth', 'm.onnx', '--image', 'no.jpg'], "'no.jpg' is no image"),
        (['other.pth', 'm.onnx'], 'other.pth'),
        (['model.pth', 'm.onnx', '--tolerance', '0'], 'more than --tolerance'),
        (
            [
                *('model.pth', 'm.onnx', '--cfg-options'),
                'model.head.type=MultiLabelLinearClsHead',
            ],
            "model.head: expected a ClsHead.*'MultiLabelLinearClsHead'",
        ),
    ],
)
def test_errors_are_one_line_and_leave_no_file(args, message, make, run_tool):
    config, _ = make('classifier')
    torch.save(dict(state_dict=dict(a=torch.ones(1))), 'other.pth')
    with pytest.raises(SystemExit, match=message) as error:
        run_tool(EXPORT, config, *args, '--shape', 64)
    assert isinstance(error.value.code, str)
    left = {path.name for path in Path().iterdir()}
    assert left == {
        *('classifier.py', 'detector.py', 'segmentor.py', 'data'),
        *('model.pth', 'other.pth'),
    }


def test_detector_without_support(make, run_tool):
    config, _ = make('detector')
    options = ('--cfg-options', 'model.test_cfg.nms.type=soft_nms')
    message = "bbox_head.test_cfg.nms.type: expected 'nms'.*'soft_nms'"
    with pytest.raises(SystemExit, match=message):
        run_tool(EXPORT, config, 'model.pth', 'm.onnx', *options)


def test_missing_package(make, run_tool, monkeypatch):
    config, _ = make('classifier')
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(SystemExit, match='onnx is not installed: pip install'):
        run_tool(EXPORT, config, 'model.pth', 'm.onnx')


def test_page(make, run_tool, start_process):
    """The commands and the code that the page shows, from top to bottom."""
    config, _ = make('classifier')
    cv2.imwrite('image.jpg', np.full((50, 60, 3), 128, np.uint8))
    names = dict(CONFIG=config, CHECKPOINT='model.pth')
    num_commands = 0
    for language, block in find_blocks():
        if language == 'python' and '.pt2' not in block:
            scope = {}
            exec(block, scope)
            assert scope['scores'].shape == (1, 2)
        for line in block.splitlines() if language == 'bash' else []:
            words = [names.get(w, w) for w in line.split('#')[0].split()]
            if words[:1] == ['python'] and 'model.pt2' not in words:
                tool = words[1]
                if tool.startswith('tools/'):
                    run_tool(tool[len('tools/') :], *words[2:])
                else:
                    line = line.replace('python ', f'{sys.executable} ')
                    out = start_process('bash', '-c', line)
                    assert 'CONFIG CHECKPOINT' in out
                num_commands += 1
    assert num_commands == 6
