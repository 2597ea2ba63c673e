# Copyright (c) mmactive contributors. All rights reserved.
import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmactive.models import ActiveMLP
from mmactive.utils.complexity import build_model, count_complexity

ARCH = dict(
    depths=[2, 1, 3, 1],
    dims=[16, 16, 32, 32],
    mlp_ratios=[2, 2, 2, 2],
    shared_channels=[2, 2, 4, 4],
    interval=2,
)
BACKBONE = dict(
    _delete_=True,
    type='mmactive.ActiveMLP',
    arch=ARCH,
    out_indices=(0, 1, 2, 3),
)
NECK = dict(in_channels=[16, 16, 32, 32], out_channels=32)


def load(scope, name, options):
    """Loads a model of a library with a narrow ActiveMLP put in."""
    init_default_scope(scope)
    base = f'{scope}::_base_/models/{name}.py'
    cfg = Config.fromstring(
        f'_base_ = [{base!r}]\ndefault_scope = {scope!r}\n'
        f'model = dict(backbone={BACKBONE!r}, **{options!r})\n',
        '.py',
    )
    return cfg


def trace(model, images):
    """Counts by mmengine's counter, which traces the model."""
    counter = FlopAnalyzer(model, images)
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counts = counter.by_operator()
    return counts['conv'] + counts['linear'] + counts['matmul']


class ModuleCounter:
    """Counts what layers do from the shapes of weights and outputs."""

    def __init__(self, model):
        self.macs = 0
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                module.register_forward_hook(self.count)

    def count(self, module, inputs, output):
        if isinstance(module, nn.Linear):
            positions = output.numel() // module.out_features
        elif isinstance(module, nn.ConvTranspose2d):
            positions = inputs[0].numel() // module.in_channels
        else:
            positions = output.numel() // module.out_channels
        self.macs += positions * module.weight.numel()


def test_backbone_agrees_with_a_tracing_counter():
    model = ActiveMLP(ARCH, out_indices=(0, 1, 2, 3)).eval()
    result = count_complexity(model, (64, 96))
    assert result.macs == trace(model, torch.zeros(1, 3, 64, 96))
    assert result.params == sum(p.numel() for p in model.parameters())


def test_in_channels():
    model = ActiveMLP(ARCH, in_channels=1).eval()
    rgb = ActiveMLP(ARCH).eval()
    difference = (
        count_complexity(rgb, (64, 64)).macs
        - count_complexity(model, (64, 64), in_channels=1).macs
    )
    # Two more channels for 7x7 kernels at 16x16 positions
    assert difference == 2 * 16 * 49 * 16 * 16


@pytest.mark.parametrize(
    ('scope', 'name', 'options'),
    [
        (
            'mmdet',
            'retinanet_r50_fpn',
            dict(neck=NECK, bbox_head=dict(in_channels=32, feat_channels=32)),
        ),
        (
            'mmseg',
            'fpn_r50',
            dict(
                neck=NECK,
                pretrained=None,
                decode_head=dict(in_channels=[32] * 4, channels=32),
            ),
        ),
        (
            'mmseg',
            'upernet_r50',
            dict(
                pretrained=None,
                decode_head=dict(in_channels=[16, 16, 32, 32], channels=32),
                auxiliary_head=dict(in_channels=32, channels=16),
            ),
        ),
    ],
)
def test_single_stage_models(scope, name, options):
    """Heads included, auxiliary heads not: they do not run at test time."""
    cfg = load(scope, name, options)
    result = count_complexity(build_model(cfg), (64, 96))
    model = build_model(cfg, 'cpu')
    assert result.macs == trace(model, torch.zeros(1, 3, 64, 96))
    assert result.params == sum(p.numel() for p in model.parameters())


MASK_RCNN = dict(
    neck=NECK,
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=64),
        mask_roi_extractor=dict(out_channels=32),
        mask_head=dict(in_channels=32, conv_out_channels=32),
    ),
)


def test_mask_rcnn_agrees_with_its_own_forward():
    from mmengine.structures import InstanceData

    cfg = load('mmdet', 'mask-rcnn_r50_fpn', MASK_RCNN)
    result = count_complexity(build_model(cfg), (64, 96))
    model = build_model(cfg, 'cpu')
    counter = ModuleCounter(model)
    boxes = torch.rand(1000, 4).sort(dim=1).values * 64
    with torch.no_grad():
        features = model.extract_feat(torch.zeros(1, 3, 64, 96))
        model.rpn_head(features)
        model.roi_head(features, [InstanceData(bboxes=boxes)])
    assert result.macs == counter.macs
    assert result.params == sum(p.numel() for p in model.parameters())


def test_cascade_has_three_times_the_heads():
    """What a head costs more or less shows in all three stages."""
    heads = [
        dict(
            type='Shared2FCBBoxHead',
            in_channels=32,
            fc_out_channels=64,
            roi_feat_size=7,
            num_classes=80,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            reg_class_agnostic=True,
        )
        for _ in range(3)
    ]
    options = dict(MASK_RCNN, roi_head=dict(MASK_RCNN['roi_head']))
    options['roi_head']['bbox_head'] = heads
    cfg = load('mmdet', 'cascade-mask-rcnn_r50_fpn', options)
    with_heads = count_complexity(build_model(cfg), (64, 96)).macs
    cfg.model.roi_head.mask_head.num_convs -= 1
    difference = with_heads - count_complexity(build_model(cfg), (64, 96)).macs
    assert difference == 3 * 100 * 14 * 14 * 32 * 32 * 9
    cfg.model.roi_head.mask_head.num_convs += 1
    for head in cfg.model.roi_head.bbox_head:
        head.fc_out_channels = 32
    difference = with_heads - count_complexity(build_model(cfg), (64, 96)).macs
    # Two shared layers, 81 scores and 4 offsets
    wide, narrow = (c * 49 * 32 + c * c + c * 85 for c in (64, 32))
    assert difference == 3 * 1000 * (wide - narrow)


def test_unknown_roi_heads_are_refused():
    cfg = load('mmdet', 'faster-rcnn_r50_fpn', dict(neck=NECK))
    model = build_model(cfg)
    model.roi_head = nn.Module()
    with pytest.raises(NotImplementedError, match='roi_head: .* has Module'):
        count_complexity(model, (64, 64))


class Attention(nn.Module):
    """The two ways in which libraries attend, of 4 heads each."""

    def __init__(self):
        super().__init__()
        self.layer = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, image):
        tokens = image.flatten(2).transpose(1, 2).repeat(1, 1, 11)[..., :32]
        heads = tokens.unflatten(2, (4, 8)).transpose(1, 2)
        nn.functional.scaled_dot_product_attention(heads, heads, heads)
        return self.layer(tokens, tokens, tokens)


@pytest.mark.parametrize('device', ['meta', 'cpu'])
def test_attention(device):
    """Fused kernels would hide the products of queries, keys and values."""
    model = Attention().to(device).eval()
    result = count_complexity(model, (8, 8))
    attention = 2 * 2 * 64 * 64 * 32
    assert result.attention_macs == attention
    assert result.macs == attention + 64 * 4 * 32 * 32
    assert torch.backends.mha.get_fastpath_enabled()


def test_other_operations():
    """By fvcore's rules, elements in all."""
    model = nn.Sequential(
        nn.BatchNorm2d(3),
        nn.GroupNorm(1, 3),
        nn.Upsample(scale_factor=2, mode='bilinear'),
        nn.Upsample(scale_factor=2, mode='nearest'),
        nn.LayerNorm(32),
    ).eval()
    result = count_complexity(model, (8, 8))
    elements = 3 * 8 * 8
    assert result.other_ops == elements * (2 + 5 + 4 * 4 + 16 + 5 * 16)
    assert result.macs == 0
