# Copyright (c) mmactive contributors. All rights reserved.
"""Table 7: four variants of Tiny, for classification and Mask R-CNN."""

import pytest
import torch
from config_checks import count_params, load_config
from mmengine.registry import init_default_scope
from torch import nn

from mmactive.registry import MODELS
from mmactive.utils.complexity import build_model, count_complexity

CLASSIFIER = 'configs/imagenet/ablation/activemlp-{}_8xb128_in1k.py'
DETECTOR = 'configs/coco/ablation/mask-rcnn_activemlp-{}_fpn_ms-1x_coco.py'

# Parameters in millions, stages with PEG and offsets of a token, by stage.
VARIANTS = {
    'tiny-zero-offset': ('26.8', 0, []),
    'tiny-star-no-peg': ('26.9', 0, [64, 64, 160, 128]),
    'tiny-star': ('26.9', 4, [64, 64, 160, 128]),
    'tiny-star-one-offset': ('26.8', 4, [2, 2, 2, 2]),
}


def offset_dims(backbone):
    return [
        block.offset_layer[1].out_features
        for stage in backbone.stages
        for block in stage.blocks
        if block.offset_layer is not None
    ]


@pytest.mark.parametrize('variant', VARIANTS)
def test_classifier(variant):
    params, num_pegs, offsets = VARIANTS[variant]
    cfg = load_config(CLASSIFIER.format(variant))
    model = build_model(cfg)
    pegs = [stage.peg for stage in model.backbone.stages]
    assert sum(peg is not None for peg in pegs) == num_pegs
    assert offset_dims(model.backbone) == offsets
    assert f'{count_params(model) / 1e6:.1f}' == params
    macs = count_complexity(model, (224, 224)).macs
    assert f'{macs / 1e9:.1f}' == '3.9'

    # Nothing but the backbone differs from Tiny.
    tiny = load_config('configs/imagenet/activemlp-tiny_8xb128_in1k.py')
    own = {'model', 'backbone', 'init_cfg', 'pretrained'}
    for key in set(tiny) - own:
        assert cfg[key] == tiny[key]
    assert cfg.model.head == tiny.model.head
    assert cfg.model.backbone.drop_path_rate == (
        tiny.model.backbone.drop_path_rate
    )


@pytest.mark.parametrize('variant', VARIANTS)
def test_detector(variant):
    cfg = load_config(DETECTOR.format(variant))
    classifier = load_config(CLASSIFIER.format(variant)).model.backbone
    backbone = cfg.model.backbone
    assert backbone.arch == classifier.arch
    assert backbone.get('use_peg') == classifier.get('use_peg')
    checkpoint = f'checkpoints/activemlp-{variant}_in1k.pth'
    assert cfg.pretrained == backbone.init_cfg.checkpoint == checkpoint
    tiny = load_config(
        'configs/coco/mask-rcnn_activemlp-tiny_fpn_ms-1x_coco.py'
    )
    assert backbone.drop_path_rate == tiny.model.backbone.drop_path_rate
    assert cfg.model.roi_head == tiny.model.roi_head
    for key in ('train_dataloader', 'optim_wrapper', 'param_scheduler'):
        assert cfg[key] == tiny[key]


def test_zero_offset_is_what_it_says():
    """Row 2 with offset layers that predict zero computes what row 1 does."""
    init_default_scope('mmpretrain')
    without, with_zeros = (
        MODELS.build(
            load_config(CLASSIFIER.format(variant)).model.backbone
        ).eval()
        for variant in ('tiny-zero-offset', 'tiny-star-no-peg')
    )
    missing = with_zeros.load_state_dict(without.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all('offset_layer' in key for key in missing.missing_keys)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = without(image)[0]
        assert not torch.allclose(with_zeros(image)[0], expected)
        for name, module in with_zeros.named_modules():
            if name.endswith('offset_layer.1'):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
        torch.testing.assert_close(with_zeros(image)[0], expected)
