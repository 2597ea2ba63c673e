# Copyright (c) mmactive contributors. All rights reserved.
"""Methods of mmdet and mmseg that call operators of mmcv: one step of each."""

import importlib.util

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmactive  # noqa: F401  supplies the operators

pytestmark = pytest.mark.slow

only_supplied = pytest.mark.skipif(
    'mmcv_ops' not in importlib.util.find_spec('mmcv._ext').origin,
    reason='compiled mmcv has no CPU kernels of an operator',
)


def build(library, config):
    """Builds the model of a library's config, without weights."""
    module = pytest.importorskip(library)
    init_default_scope(library)
    folder = f'{module.__path__[0]}/.mim/configs'
    model = Config.fromfile(f'{folder}/{config}').model
    simplify(model)
    return pytest.importorskip(f'{library}.registry').MODELS.build(model)


def simplify(config):
    """Leaves out weights, and synchronisation between processes."""
    if isinstance(config, dict):
        config.pop('init_cfg', None)
        if config.get('type') == 'SyncBN':
            config['type'] = 'BN'
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            simplify(part)


@pytest.mark.parametrize(
    'config',
    [
        pytest.param(
            'carafe/mask-rcnn_r50_fpn-carafe_1x_coco.py',
            marks=only_supplied,
        ),
        'cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py',
        'dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py',
        'dcnv2/mask-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py',
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
        'dyhead/atss_r50_fpn_dyhead_1x_coco.py',
        pytest.param(
            'guided_anchoring/ga-faster-rcnn_r50_fpn_1x_coco.py',
            marks=only_supplied,
        ),
        'pisa/faster-rcnn_r50_fpn_pisa_1x_coco.py',
        'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py',
        'reppoints/reppoints-moment_r50_fpn_1x_coco.py',
    ],
)
def test_detector(config):
    torch.manual_seed(0)
    model = build('mmdet', config)
    from mmdet.testing import demo_mm_inputs

    def inputs(training):
        batch = demo_mm_inputs(
            1, [[3, 96, 128]], with_mask=True, num_classes=5, num_items=[3]
        )
        return model.data_preprocessor(batch, training)

    losses = model(**inputs(True), mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert loss.isfinite()
    model.eval()
    with torch.no_grad():
        (result,) = model(**inputs(False), mode='predict')
    assert result.pred_instances.bboxes.shape[1:] == (4,)


@pytest.mark.parametrize(
    'config',
    [
        'ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
        'point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
        'psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    ],
)
def test_segmentor(config):
    torch.manual_seed(0)
    model = build('mmseg', config)
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for _ in range(2):
        labels = torch.randint(19, (1, 512, 512))
        sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
        sample.set_metainfo(dict(img_shape=(512, 512), ori_shape=(512, 512)))
        samples.append(sample)
    losses = model(torch.rand(2, 3, 512, 512), samples, mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert loss.isfinite()
