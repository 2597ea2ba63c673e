# Copyright (c) mmactive contributors. All rights reserved.
"""The backbone in methods that have no config here.

Each takes the installed library's own config and puts ActiveMLP in, as the
README tells users to, and does a step of training with the config's optimizer.
"""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData

BACKBONE = """
custom_imports = dict(imports={imports}, allow_failed_imports=False)
backbone = dict(
    _delete_=True,
    type='mmactive.ActiveMLP',
    arch=dict(
        depths=[2, 1, 3, 1],
        dims=[16, 16, 32, 32],
        mlp_ratios=[2, 2, 2, 2],
        shared_channels=[2, 2, 4, 4],
        interval=2),
    out_indices={out_indices})
"""

DETECTORS = {
    'Faster R-CNN': (
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        (0, 1, 2, 3),
        'model = dict(backbone=backbone,'
        ' neck=dict(in_channels=[16, 16, 32, 32]))',
    ),
    'FCOS': (
        'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
        (1, 2, 3),
        'model = dict(backbone=backbone,'
        ' neck=dict(in_channels=[16, 32, 32], start_level=0))',
    ),
    'DINO': (
        'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
        (1, 2, 3),
        'model = dict(backbone=backbone, num_queries=50,'
        ' encoder=dict(num_layers=2), decoder=dict(num_layers=2),'
        ' neck=dict(in_channels=[16, 32, 32]))',
    ),
}

SEGMENTORS = {
    'SegFormer': (
        'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
        (0, 1, 2, 3),
        'model = dict(backbone=backbone,'
        ' decode_head=dict(in_channels=[16, 16, 32, 32]))',
    ),
    'DeepLabV3+': (
        'mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py',
        (0, 2, 3),
        'model = dict(pretrained=None, backbone=backbone,'
        ' decode_head=dict(in_channels=32, in_index=2, c1_in_channels=16),'
        ' auxiliary_head=dict(in_channels=32, in_index=1))',
    ),
    'Mask2Former': (
        'mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py',
        (0, 1, 2, 3),
        'model = dict(backbone=backbone, decode_head=dict('
        'in_channels=[16, 16, 32, 32], num_queries=10,'
        ' pixel_decoder=dict(encoder=dict(num_layers=1)),'
        ' transformer_decoder=dict(num_layers=3),'
        ' train_cfg=dict(num_points=256)))',
    ),
}


def build(base, out_indices, body):
    imports = ['mmactive']
    if 'mask2former' in base:
        imports.append('mmdet.models')  # mmseg's config wants it
    text = f'_base_ = {base!r}\n' + BACKBONE.format(
        imports=imports, out_indices=out_indices
    )
    cfg = Config.fromstring(text + body, '.py')
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.pop('init_cfg', None)
    return cfg, MODELS.build(cfg.model)


def train_step(cfg, model, data):
    """A step of training; every parameter of the backbone takes part."""
    model.init_weights()
    model.train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    seen = {}
    for name, parameter in model.backbone.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: seen.update({name: p.grad.clone()})
        )
    before = model.backbone.downsample_layers[0].weight.detach().clone()
    losses = model.train_step(data, optimizer)
    assert losses
    for value in losses.values():
        assert torch.isfinite(value).all()
    assert seen.keys() == dict(model.backbone.named_parameters()).keys()
    for name, gradient in seen.items():
        assert torch.isfinite(gradient).all(), name
        assert gradient.any(), name
    assert not torch.equal(model.backbone.downsample_layers[0].weight, before)


@pytest.mark.parametrize('method', DETECTORS)
def test_detector(method):
    from mmdet.structures import DetDataSample

    torch.manual_seed(0)
    cfg, model = build(*DETECTORS[method])
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(96, 128), ori_shape=(96, 128), scale_factor=(1.0, 1.0)
        )
    )
    boxes = torch.tensor([[4.0, 8.0, 60.0, 70.0], [50.0, 30.0, 120.0, 90.0]])
    sample.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([3, 7])
    )
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
    train_step(cfg, model, dict(inputs=[image], data_samples=[sample]))
    with torch.no_grad():
        model.eval()
        (result,) = model.test_step(
            dict(inputs=[image], data_samples=[sample])
        )
    assert result.pred_instances.bboxes.shape[1] == 4


@pytest.mark.parametrize('method', SEGMENTORS)
def test_segmentor(method):
    from mmseg.structures import SegDataSample

    torch.manual_seed(0)
    cfg, model = build(*SEGMENTORS[method])
    data = dict(inputs=[], data_samples=[])
    for _ in range(2):  # batch norm over a pooled map needs two
        labels = torch.randint(0, 150, (1, 4, 4)).repeat_interleave(24, 1)
        labels = labels.repeat_interleave(24, 2)
        sample = SegDataSample(
            gt_sem_seg=PixelData(data=labels),
            metainfo=dict(img_shape=(96, 96), ori_shape=(96, 96)),
        )
        data['inputs'].append(
            torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8)
        )
        data['data_samples'].append(sample)
    model.data_preprocessor.size = (96, 96)
    train_step(cfg, model, data)
    with torch.no_grad():
        model.eval()
        results = model.test_step(data)
    assert results[0].pred_sem_seg.data.shape == (1, 96, 96)
