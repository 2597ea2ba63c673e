# Copyright (c) mmactive contributors. All rights reserved.
import collections
import copy

import pytest
import torch
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope
from reference_activemlp import (
    ARCHS,
    COUNTS,
    ReferenceActiveMLP,
    randomize,
)
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mmactive.models import ActiveMLP
from mmactive.models.layers import LayerNorm2d
from mmactive.registry import MODELS

SMALL = dict(
    depths=[2, 1, 5, 2],
    dims=[16, 24, 32, 48],
    mlp_ratios=[2, 4, 2, 2],
    shared_channels=[2, 4, 4, 8],
    interval=2,
)


def count(model):
    return sum(p.numel() for p in model.parameters())


def load_reference(backbone, reference):
    """Copies weights by position in the forward pass, not by name."""

    def layers(block, mixer, ffn, offset_layer):
        yield from (block.norm1, block.norm2, ffn.fc1, ffn.fc2)
        yield from (mixer.fusion.fc1, mixer.fusion.fc2, mixer.proj)
        if offset_layer is not None:
            yield from offset_layer

    def copy_layer(ours, theirs):
        ours.weight.copy_(theirs.weight.view_as(ours.weight))
        assert (ours.bias is None) == (theirs.bias is None)
        if ours.bias is not None:
            ours.bias.copy_(theirs.bias)

    with torch.no_grad():
        copy_layer(backbone.downsample_layers[0], reference.patch_embed.proj)
        for i, stage in enumerate(backbone.stages):
            their_blocks = reference.blocks[i]
            if i > 0:
                down = reference.blocks[i - 1][-1].downsample.proj
                copy_layer(backbone.downsample_layers[i], down)
            if stage.peg is not None:
                copy_layer(stage.peg, reference.pos_blocks[i].proj)
            assert len(stage.blocks) == len(their_blocks)
            for ours, theirs in zip(stage.blocks, their_blocks):
                assert (ours.offset_layer is None) == (
                    theirs.offset_layer is None
                )
                copy_layer(ours.mixer.fc_w, theirs.atm.atm_w)
                copy_layer(ours.mixer.fc_h, theirs.atm.atm_h)
                copy_layer(ours.mixer.fc_c, theirs.atm.atm_c)
                for a, b in zip(
                    layers(ours, ours.mixer, ours.ffn, ours.offset_layer),
                    layers(
                        theirs, theirs.atm, theirs.mlp, theirs.offset_layer
                    ),
                ):
                    copy_layer(a, b)
            norm = getattr(backbone, f'norm{i}', None)
            if norm is not None:
                copy_layer(
                    norm,
                    getattr(reference, f'norm_{i}')
                    if reference.dense
                    else reference.norm,
                )


@pytest.mark.parametrize('arch', COUNTS)
def test_parameters_and_multiply_adds(arch):
    parameters, giga_multiply_adds, dense_parameters = COUNTS[arch]
    dense = ActiveMLP(arch, out_indices=(0, 1, 2, 3))
    assert count(dense) == dense_parameters

    classifier = nn.ModuleList(
        [ActiveMLP(arch, gap=True), nn.Linear(ARCHS[arch]['dims'][-1], 1000)]
    )
    assert count(classifier) == parameters
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone, head = classifier
        head(backbone(torch.zeros(1, 3, 224, 224))[0])
    # The library counts a multiply-add as two.
    measured = counter.get_total_flops() / 2e9
    assert round(measured, 3) == giga_multiply_adds


@pytest.mark.parametrize('size', [(32, 32), (64, 40), (97, 51)], ids=str)
@pytest.mark.parametrize('arch', ['xtiny', 'small', 'custom'])
def test_equals_the_reference_formulation(arch, size):
    if arch == 'custom':
        # One block in a stage predicts for itself: the released networks have
        # no such stage, so the reference leaves it without offsets.
        arch = dict(SMALL, depths=[2, 2, 5, 2])
    for dense in (False, True):
        reference = randomize(ReferenceActiveMLP(arch, dense=dense)).eval()
        backbone = ActiveMLP(
            arch, out_indices=(0, 1, 2, 3) if dense else 3, gap=not dense
        ).eval()
        load_reference(backbone, reference)
        image = torch.randn(2, 3, *size, generator=torch.manual_seed(0))
        with torch.no_grad():
            expected = reference(image)
            actual = backbone(image)
        if not dense:
            (feature,) = actual
            actual, expected = [reference.head(feature)], [expected]
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected):
            assert a.is_contiguous()
            torch.testing.assert_close(a, e, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_norms_copy_nothing():
    """Tokens lie in memory as they are indexed, in every block."""
    backbone = ActiveMLP(SMALL, out_indices=(0, 1, 2, 3)).eval()
    layouts = []

    def append_layout(module, args):
        # The norms of outputs get the tokens as maps (N, C, H, W).
        is_map = isinstance(module, LayerNorm2d)
        x = args[0].permute(0, 2, 3, 1) if is_map else args[0]
        layouts.append(x.is_contiguous())

    for module in backbone.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(append_layout)
    backbone(torch.randn(2, 3, 64, 96))
    assert len(layouts) > 8
    assert all(layouts)


def test_gradients_equal_the_reference_formulation():
    arch = dict(SMALL, depths=[2, 2, 5, 2])
    reference = randomize(ReferenceActiveMLP(arch, dense=True)).double()
    backbone = ActiveMLP(arch, out_indices=(0, 1, 2, 3)).double()
    load_reference(backbone, reference)
    for with_cp in (False, True):
        for module in backbone.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = with_cp
        gradients = []
        for model in (backbone, reference):
            image = torch.randn(
                1, 3, 64, 48, generator=torch.manual_seed(0)
            ).double()
            image.requires_grad_()
            model.zero_grad()
            sum(out.square().sum() for out in model(image)).backward()
            gradients.append(image.grad)
        torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(
            backbone.stages[2].blocks[0].offset_layer[1].weight.grad,
            reference.blocks[2][0].offset_layer[1].weight.grad,
            rtol=1e-8,
            atol=1e-8,
        )
        torch.testing.assert_close(
            backbone.stages[0].peg.weight.grad,
            reference.pos_blocks[0].proj.weight.grad,
            rtol=1e-8,
            atol=1e-8,
        )


@pytest.mark.parametrize(
    ('arch', 'interval', 'expected'),
    [
        ('xtiny', None, [[0], [0], [0, 2], [0]]),
        ('tiny', None, [[0], [0], [0, 2, 4, 6, 8], [0]]),
        ('base', None, [[0], [0, 6], [0, 6, 12, 18, 24], [0]]),
        (SMALL, 2, [[0], [0], [0, 2], [0]]),
        (SMALL, 1, [[0], [0], [0, 1, 2, 3], [0]]),
        (SMALL, 100, [[0], [0], [0], [0]]),
    ],
    ids=str,
)
def test_which_blocks_predict_offsets(arch, interval, expected):
    if isinstance(arch, dict):
        arch = dict(arch, interval=interval)
    backbone = ActiveMLP(arch)
    actual = [
        [
            j
            for j, block in enumerate(stage.blocks)
            if block.offset_layer is not None
        ]
        for stage in backbone.stages
    ]
    assert actual == expected


@pytest.mark.parametrize('size', [(32, 32), (33, 63), (32, 200), (127, 50)])
def test_any_size_and_channels(size):
    backbone = ActiveMLP(SMALL, in_channels=4, out_indices=(0, 1, 2, 3))
    features = backbone(torch.rand(1, 4, *size))
    for i, (feature, dim) in enumerate(zip(features, SMALL['dims'])):
        height, width = ((s - 3) // 4 + 1 for s in size)
        for _ in range(i):
            height, width = (height + 1) // 2, (width + 1) // 2
        assert feature.shape == (1, dim, height, width)


@pytest.mark.parametrize(
    ('out_indices', 'channels'),
    [
        ((0, 1, 2, 3), [16, 24, 32, 48]),
        ((1, 2, 3), [24, 32, 48]),
        ([2], [32]),
        (0, [16]),
        (-1, [48]),
        ((0, -2), [16, 32]),
    ],
    ids=str,
)
def test_out_indices(out_indices, channels):
    backbone = ActiveMLP(SMALL, out_indices=out_indices)
    features = backbone(torch.rand(1, 3, 32, 32))
    assert isinstance(features, tuple)
    assert [f.size(1) for f in features] == channels
    # Everything that is built is used: no surprise for DistributedDataParallel
    sum(f.sum() for f in features).backward()
    unused = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert not unused


def test_gap():
    torch.manual_seed(0)
    dense = ActiveMLP(SMALL, out_indices=(1, 3))
    pooled = ActiveMLP(SMALL, out_indices=(1, 3), gap=True)
    pooled.load_state_dict(dense.state_dict())
    image = torch.rand(2, 3, 64, 32)
    for vector, feature in zip(pooled(image), dense(image)):
        torch.testing.assert_close(vector, feature.mean(dim=(2, 3)))


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 2, 4])
def test_frozen_stages(frozen_stages):
    backbone = ActiveMLP(
        SMALL,
        drop_path_rate=0.5,
        out_indices=(0, 1, 2, 3),
        frozen_stages=frozen_stages,
    )
    backbone.init_weights()
    backbone.train()
    for name, parameter in backbone.named_parameters():
        kind, i = (
            ('norm', int(name[4]))
            if name.startswith('norm')
            else (name.split('.')[0], int(name.split('.')[1]))
        )
        frozen = i < frozen_stages
        if kind == 'downsample_layers' and i == 0:
            frozen = frozen_stages >= 0
        assert parameter.requires_grad == (not frozen), name
    for i, stage in enumerate(backbone.stages):
        assert stage.blocks[0].drop_path.training == (i >= frozen_stages)
    backbone.eval()
    assert not backbone.stages[3].training
    # Frozen stages behave the same in training: no stochastic depth.
    backbone.train()
    image = torch.rand(2, 3, 32, 32)
    for _ in range(2):
        first, second = backbone(image), backbone(image)
        for i in range(frozen_stages):
            torch.testing.assert_close(first[i], second[i], rtol=0, atol=0)


def test_with_cp_saves_activations_and_changes_nothing():
    results, saved = [], []
    for with_cp in (False, True):
        torch.manual_seed(0)
        backbone = ActiveMLP(
            SMALL, drop_path_rate=0.3, out_indices=(0, 3), with_cp=with_cp
        )
        image = torch.rand(2, 3, 64, 64)
        size = 0

        def pack(tensor):
            nonlocal size
            size += tensor.numel()
            return tensor

        torch.manual_seed(1)  # of stochastic depth
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            features = backbone(image)
        sum(f.square().sum() for f in features).backward()
        results.append({n: p.grad for n, p in backbone.named_parameters()})
        saved.append(size)
    torch.testing.assert_close(*results)
    assert saved[1] < saved[0] / 3


def test_what_training_recomputes(monkeypatch):
    """Gathers and activations, but no linear layer, and the same numbers."""

    class Counter(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.calls = collections.Counter()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls[func.overloadpacket._qualified_op_name] += 1
            return func(*args, **(kwargs or {}))

    monkeypatch.setattr('mmactive.models.layers.recompute.MIN_SIZE', 1)
    torch.manual_seed(0)
    backbone = ActiveMLP(SMALL, out_indices=(0, 3))
    image = torch.rand(2, 3, 64, 64)
    calls, grads = [], []
    for training in (False, True):
        backbone.train(training)
        backbone.zero_grad()
        with Counter() as counter:
            features = backbone(image)
            sum(f.square().sum() for f in features).backward()
        calls.append(counter.calls)
        grads.append({n: p.grad for n, p in backbone.named_parameters()})
    torch.testing.assert_close(*grads, rtol=0, atol=0)

    blocks = sum(SMALL['depths'])
    gather = 'mmactive::axial_deform_gather'
    assert calls[0][gather] == calls[0][f'{gather}_backward'] == 2 * blocks
    again = calls[1] - calls[0]
    assert again[gather] == 2 * blocks
    assert again['aten::gelu'] == blocks
    layers = ('linear', 'addmm', 'mm', 'bmm', 'convolution')
    assert calls[0]['aten::mm'] > blocks
    assert not any(again[f'aten::{layer}'] for layer in layers)


def test_drop_path_rates_rise_linearly():
    backbone = ActiveMLP(SMALL, drop_path_rate=0.45)
    rates = [
        block.drop_path.drop_prob
        for stage in backbone.stages
        for block in stage.blocks
    ]
    assert rates == pytest.approx([0.05 * i for i in range(10)], abs=1e-6)


def test_init_weights():
    torch.manual_seed(0)
    backbone = ActiveMLP('xtiny', out_indices=(0, 1, 2, 3))
    backbone.init_weights()
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert module.weight.abs().max() <= 2
        elif isinstance(module, nn.Conv2d):
            fan_out = module.weight[:, 0].numel() / module.groups
            std = (2 / fan_out) ** 0.5
            assert module.weight.std().item() == pytest.approx(std, rel=0.1)
        elif isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all()
        if getattr(module, 'bias', None) is not None:
            assert (module.bias == 0).all(), name


def test_pretrained_weights(tmp_path):
    """``init_cfg`` loads a classifier's checkpoint without its head."""
    torch.manual_seed(0)
    backbone = ActiveMLP(SMALL)
    state = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    state['head.fc.weight'] = torch.zeros(10, 48)
    torch.save({'state_dict': state}, tmp_path / 'classifier.pth')
    init_cfg = dict(
        type='Pretrained',
        checkpoint=str(tmp_path / 'classifier.pth'),
        prefix='backbone.',
    )
    dense = ActiveMLP(SMALL, out_indices=(0, 1, 2, 3), init_cfg=init_cfg)
    dense.init_weights()
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(dense.state_dict()[name], value)

    init_cfg['checkpoint'] = str(tmp_path / 'missing.pth')
    missing = ActiveMLP(SMALL, init_cfg=init_cfg)
    with pytest.raises(FileNotFoundError, match=r'missing\.pth'):
        missing.init_weights()


@pytest.mark.parametrize('scope', [None, 'mmpretrain', 'mmdet', 'mmseg'])
def test_is_built_from_every_library(scope):
    cfg = dict(type='mmactive.ActiveMLP', arch='xtiny')
    if scope is None:
        registry = MMENGINE_MODELS
    else:
        DefaultScope.get_instance(f'test_{scope}', scope_name=scope)
        registry = pytest.importorskip(f'{scope}.registry').MODELS
    assert isinstance(registry.build(copy.deepcopy(cfg)), ActiveMLP)


@MODELS.register_module()
class MeanMixer(nn.Module):
    """A mixer of somebody else's, with an argument of its own."""

    def __init__(self, embed_dims, scale=1.0):
        super().__init__()
        self.scale = scale
        self.fc = nn.Linear(embed_dims, embed_dims)

    def forward(self, x, offset=None):
        self.offset = offset
        return self.scale * self.fc(x.mean(dim=(1, 2), keepdim=True))


@pytest.mark.parametrize('interval', [2, None])
def test_another_mixer(interval):
    backbone = ActiveMLP(
        dict(SMALL, interval=interval),
        mixer=dict(type='mmactive.MeanMixer', scale=2.0),
    )
    (feature,) = backbone(torch.rand(1, 3, 64, 64))
    assert feature.shape == (1, 48, 2, 2)
    mixer = backbone.stages[1].blocks[0].mixer
    assert isinstance(mixer, MeanMixer)
    assert mixer.scale == 2.0
    if interval is None:
        assert mixer.offset is None
    else:
        assert mixer.offset.shape == (1, 8, 8, 2 * 24 // 4)


def test_ablations_of_table_7():
    """Their parameters, with 1000 classes, in millions."""
    arch = dict(ARCHS['tiny'])
    head = 513_000
    for change, use_peg, expected in (
        (dict(interval=None), True, 26.8),  # all offsets zero
        (dict(interval=10), False, 26.9),  # T* without PEG
        (dict(interval=10), True, 26.9),  # T*
        (
            dict(interval=10, shared_channels=arch['dims']),
            True,
            26.8,
        ),  # one offset an axis
    ):
        backbone = ActiveMLP(dict(arch, **change), use_peg=use_peg)
        assert round((count(backbone) + head) / 1e6, 1) == expected
        assert backbone(torch.rand(1, 3, 32, 32))[0].shape == (1, 512, 1, 1)


def test_without_offsets_tokens_do_not_mix():
    """But for the fusion weights, which are frozen to a half here."""
    torch.manual_seed(0)
    backbone = ActiveMLP(dict(SMALL, interval=None), out_indices=0).eval()
    for block in backbone.stages[0].blocks:
        nn.init.zeros_(block.mixer.fusion.fc2.weight)
    image = torch.rand(1, 3, 64, 64)
    changed = image.clone()
    changed[..., 32:] = 0
    first, second = backbone(image)[0], backbone(changed)[0]
    torch.testing.assert_close(first[..., :7], second[..., :7])
    assert not torch.allclose(first[..., 9:], second[..., 9:])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_autocast_keeps_offsets_in_float32(dtype):
    torch.manual_seed(0)
    backbone = ActiveMLP(SMALL)
    seen = []
    block = backbone.stages[0].blocks[0]
    block.mixer.register_forward_pre_hook(lambda _, args: seen.append(args))
    image = torch.rand(1, 3, 64, 64)
    with torch.autocast('cpu', dtype=dtype):
        (feature,) = backbone(image)
    assert seen[0][1].dtype == torch.float32
    feature.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in backbone.parameters())
    (expected,) = backbone(image)
    error = (feature.float() - expected).abs().mean() / expected.abs().mean()
    assert error < 0.05


def test_half_precision_model():
    backbone = ActiveMLP(SMALL).bfloat16()
    (feature,) = backbone(torch.rand(1, 3, 64, 64).bfloat16())
    assert feature.dtype == torch.bfloat16


def test_meta_device():
    with torch.device('meta'):
        backbone = ActiveMLP('base', out_indices=(0, 1, 2, 3))
        features = backbone(torch.rand(2, 3, 1024, 2048))
    assert features[3].shape == (2, 512, 32, 64)


def make_backbone_to_compile():
    # Tracing with symbolic shapes takes long, so only a few blocks.
    return ActiveMLP(
        dict(
            depths=[1, 2],
            dims=[16, 24],
            mlp_ratios=[2, 2],
            shared_channels=[2, 4],
            interval=2,
        ),
        out_indices=(0, 1),
    )


def test_compile_without_graph_breaks():
    torch._dynamo.reset()
    torch.manual_seed(0)
    backbone = make_backbone_to_compile()
    compiled = torch.compile(
        backbone, fullgraph=True, dynamic=True, backend='eager'
    )
    for size in ((64, 64), (96, 80)):
        image = torch.rand(2, 3, *size)
        torch.testing.assert_close(compiled(image), backbone(image))
    sum(f.sum() for f in compiled(image)).backward()
    assert backbone.downsample_layers[0].weight.grad is not None


@pytest.mark.parametrize(
    'backend',
    ['aot_eager', pytest.param('inductor', marks=pytest.mark.slow)],
)
def test_compiled_code_equals_eager(backend, monkeypatch):
    """The features, and the gradients of a training step."""
    monkeypatch.setattr('mmactive.models.layers.recompute.MIN_SIZE', 1)
    torch._dynamo.reset()
    torch.manual_seed(0)
    backbone = make_backbone_to_compile()
    compiled = torch.compile(backbone, fullgraph=True, backend=backend)
    image = torch.rand(2, 3, 64, 96)

    backbone.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(image), backbone(image))

    backbone.train()
    optimizer = torch.optim.SGD(backbone.parameters(), lr=1e-3)
    start = copy.deepcopy(backbone.state_dict())
    results = []
    for model in (compiled, backbone):
        backbone.load_state_dict(start)
        optimizer.zero_grad()
        features = model(image)
        sum(f.square().mean() for f in features).backward()
        optimizer.step()
        results.append(
            (
                [f.detach() for f in features],
                [p.grad.clone() for p in backbone.parameters()],
                [p.detach().clone() for p in backbone.parameters()],
            )
        )
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_export():
    backbone = ActiveMLP(SMALL, out_indices=(0, 3)).eval()
    image = torch.rand(2, 3, 64, 64)
    program = torch.export.export(backbone, (image,))
    torch.testing.assert_close(program.module()(image), backbone(image))


@pytest.mark.parametrize(
    ('message', 'arguments'),
    [
        ("arch must be one of.*'nano'", dict(arch='nano')),
        ('arch must be a dict with the keys', dict(arch=dict(depths=[1]))),
        (
            'arch must be a dict with the keys',
            dict(arch=dict(SMALL, widths=[1])),
        ),
        (
            'one value for each stage.*depths.: 3',
            dict(arch=dict(SMALL, depths=[1, 1, 1])),
        ),
        (
            r'shared_channels.\] must divide',
            dict(arch=dict(SMALL, shared_channels=[3, 4, 4, 8])),
        ),
        (
            r'shared_channels.\] must divide',
            dict(arch=dict(SMALL, shared_channels=[0, 4, 4, 8])),
        ),
        (
            r'depths.\] must be at least 1',
            dict(arch=dict(SMALL, depths=[1, 0, 1, 1])),
        ),
        (
            r'interval.\] must be at least 1',
            dict(arch=dict(SMALL, interval=0)),
        ),
        ('drop_path_rate must be in.*1.5', dict(drop_path_rate=1.5)),
        ('drop_path_rate must be in.*-0.1', dict(drop_path_rate=-0.1)),
        ('frozen_stages must be in.*5', dict(frozen_stages=5)),
        ('frozen_stages must be in.*-2', dict(frozen_stages=-2)),
        (r'out_indices must be.*\(0, 4\)', dict(out_indices=(0, 4))),
        (r'out_indices must be.*\(1, 0\)', dict(out_indices=(1, 0))),
        (r'out_indices must be.*\(1, 1\)', dict(out_indices=(1, 1))),
        (r'out_indices must be.*\(\)', dict(out_indices=())),
        ('out_indices must be.*-5', dict(out_indices=-5)),
    ],
    ids=str,
)
def test_bad_arguments(message, arguments):
    with pytest.raises((ValueError, KeyError), match=message):
        ActiveMLP(**arguments)
