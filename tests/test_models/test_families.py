# Copyright (c) mmactive contributors. All rights reserved.
"""The backbones beside ActiveMLP: what holds for all of them.

That they compute what the published ones do is in ``test_published.py``.
"""

import math
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData
from torch import nn

from mmactive.models import backbones
from mmactive.registry import MODELS
from mmactive.utils.complexity import count_complexity


class Family(NamedTuple):
    """A small network of a family, and the counts of the published ones.

    Attributes:
        arch (dict): The architecture of the small network.
        sizes (list): Sizes of images that it takes.
        counts (dict): By variant the parameters of the classifier with 1000
            classes, and its multiply-adds in G at 224x224 as published, or as
            counted on the published code.
    """

    arch: dict
    sizes: list
    counts: dict


ANY_SIZE = [(64, 64), (97, 131)]

FAMILIES = {
    'WaveMLP': Family(
        dict(
            depths=[1, 1, 2, 1],
            dims=[8, 16, 16, 24],
            mlp_ratios=[2, 2, 2, 2],
            depthwise=True,
            norm_cfg=dict(type='GN', num_groups=1),
            downsample_norm=True,
        ),
        ANY_SIZE,
        {
            'tiny-dw': (15_286_472, 2.1631),
            'tiny': (17_193_160, 2.4615),
            'small': (30_708_040, 4.5220),
            'medium': (44_056_632, 7.8722),
            'base': (63_586_360, 10.2153),
            'small-dw': (27_056_456, 3.9404),
            'medium-dw': (38_769_720, 6.9325),
            'base-dw': (55_878_712, 8.8700),
        },
    ),
    'MorphMLP': Family(
        dict(
            depths=[1, 1, 2, 1],
            dims=[8, 16, 16, 36],
            mlp_ratios=[2, 2, 2, 2],
            chunk_sizes=[4, 4, 8, 9],
        ),
        ANY_SIZE,
        {
            'tiny': (23_393_908, 3.9577),
            'small': (40_548_122, 6.9447),
            'base': (57_979_494, 10.2045),
            'large': (76_185_612, 12.4384),
        },
    ),
    'ViP': Family(
        dict(
            depths=[1, 1, 2, 1],
            dims=[16, 16, 32, 32],
            mlp_ratios=[2, 2, 2, 2],
            num_segments=[8, 8, 4, 4],
        ),
        [(56, 56)],
        {
            'small': (25_114_984, 6.9018),
            'medium': (55_272_488, 16.2843),
            'large': (87_784_936, 24.3403),
        },
    ),
    'EAMLP': Family(
        dict(depths=[2], dims=[32], mlp_ratios=[2]),
        [(224, 224)],
        {'14': (29_877_070, 6.4504), '19': (54_559_054, 11.5977)},
    ),
    'GFNet': Family(
        dict(
            depths=[1, 1, 2, 1],
            dims=[8, 16, 16, 24],
            mlp_ratios=[2, 2, 2, 2],
            patch_size=4,
            layer_scale=0.5,
        ),
        ANY_SIZE,
        {
            'tiny': (7_511_784, 1.272),
            'xs': (15_985_768, 2.833),
            'small': (24_869_608, 4.451),
            'base': (43_120_616, 7.887),
            'h-tiny': (15_085_096, 2.040),
            'h-small': (32_162_632, 4.582),
            'h-base': (53_744_200, 8.512),
        },
    ),
    'P2T': Family(
        dict(
            depths=[1, 1, 2, 1],
            dims=[8, 16, 16, 24],
            mlp_ratios=[2, 2, 2, 2],
            num_heads=[1, 2, 2, 3],
            pool_ratios=[[4, 8], [2, 4], [1, 2], [1, 2]],
            overlap=True,
        ),
        ANY_SIZE,
        {
            'v1-tiny': (11_109_864, 1.923),
            'v1-small': (23_008_552, 3.641),
            'v1-base': (36_153_256, 6.353),
            'tiny': (11_590_840, 1.789),
            'small': (24_079_848, 3.774),
            'base': (36_066_408, 6.532),
            'medium': (40_861_480, 7.323),
            'large': (54_477_096, 9.828),
        },
    ),
    'CPVT': Family(
        dict(depths=[6], dims=[16], mlp_ratios=[2], num_heads=[2]),
        ANY_SIZE,
        {
            'tiny': (5_689_192, 1.255),
            'small': (21_994_216, 4.602),
            'base': (86_454_760, 17.571),
        },
    ),
}
DENSE = ['WaveMLP', 'MorphMLP', 'GFNet', 'P2T']
ISOTROPIC = ['EAMLP', 'CPVT']


def build(family, **kwargs):
    """Builds the small network, away from what makes new ones too simple."""
    torch.manual_seed(0)
    arch = kwargs.pop('arch', FAMILIES[family].arch)
    backbone = getattr(backbones, family)(arch, **kwargs)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return backbone


def out_indices(family):
    return tuple(range(len(FAMILIES[family].arch['depths'])))


def make_images(family, index=0, n=2):
    size = FAMILIES[family].sizes[index]
    return torch.randn(n, 3, *size, generator=torch.manual_seed(1))


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def all_families(*, among=tuple(FAMILIES)):
    return pytest.mark.parametrize('family', among)


@pytest.mark.parametrize(
    ('family', 'arch'),
    [
        pytest.param(name, arch, marks=[] if i == 0 else [pytest.mark.slow])
        for name, family in FAMILIES.items()
        for i, arch in enumerate(family.counts)
    ],
)
def test_counts(family, arch):
    params, giga_macs = FAMILIES[family].counts[arch]
    with torch.device('meta'):
        backbone = getattr(backbones, family)(arch, gap=True).eval()
        head = nn.Linear(backbone.arch['dims'][-1], 1000)
    complexity = count_complexity(backbone, (224, 224))
    assert complexity.params + count(head) == params
    macs = complexity.macs + head.weight.numel()
    digits = len(str(giga_macs).partition('.')[2])
    assert round(macs / 1e9, digits) == giga_macs


def test_every_variant_is_counted():
    for family, (_, _, counts) in FAMILIES.items():
        assert set(counts) == set(getattr(backbones, family).arch_settings)


@pytest.mark.parametrize(
    ('family', 'kwargs', 'params'),
    [
        ('WaveMLP', dict(arch='tiny-dw'), 14_774_496),
        ('WaveMLP', dict(arch='small-dw'), 26_544_480),
        ('WaveMLP', dict(arch='medium'), 43_544_656),
        ('WaveMLP', dict(arch='base'), 62_818_704),
        # The published number is without norms at the outputs.
        ('MorphMLP', dict(arch='tiny'), 22_803_732 + 2352),
        ('P2T', dict(arch='v1-tiny'), 11_109_864 - 513_000),
        # Of classifiers without norm and head
        ('GFNet', dict(arch='h-tiny'), 15_085_096 - 513_000 - 1024),
        (
            'GFNet',
            dict(arch='h-tiny', img_size=512),
            22_371_880 - 513_000 - 1024,
        ),
        ('CPVT', dict(arch='base', num_pegs=1), 86_424_040 - 769_000),
        ('CPVT', dict(arch='small', with_cls_token=False), 21_608_832),
    ],
    ids=str,
)
def test_parameters_of_dense_backbones_and_options(family, kwargs, params):
    with torch.device('meta'):
        backbone = getattr(backbones, family)(**kwargs)
        depths = range(len(backbone.arch['depths']))
        backbone = getattr(backbones, family)(
            **kwargs, out_indices=tuple(depths)
        )
    assert count(backbone) == params


@all_families()
def test_outputs(family):
    """Their shapes at any size, and what they are made of."""
    arch = FAMILIES[family].arch
    indices = out_indices(family)
    dense = build(family, out_indices=indices).train()
    vectors = build(family, out_indices=indices, gap=True)
    for index, (height, width) in enumerate(FAMILIES[family].sizes):
        images = make_images(family, index)
        features = dense(images)
        assert len(features) == len(arch['dims'])
        for i, (feature, dims) in enumerate(zip(features, arch['dims'])):
            assert feature.shape[:2] == (2, dims)
            assert feature.is_contiguous()
            stride = 16 if family in ISOTROPIC else 4 * 2**i
            if family == 'ViP':
                stride = 7 if i < 2 else 14
            for length, size in zip(feature.shape[2:], (height, width)):
                assert abs(length - size / stride) < 1
        shapes = [tuple(vector.shape) for vector in vectors(images)]
        assert shapes == [(2, dims) for dims in arch['dims']]

    # Everything that is built is used: no surprise for DistributedDataParallel
    for backbone in (dense, vectors):
        backbone.zero_grad()
        sum(f.square().sum() for f in backbone(images)).backward()
        for name, parameter in backbone.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, (
                name
            )

    # Stages beyond the last output are not built.
    (first,) = build(family, out_indices=0)(images)
    assert first.shape == features[0].shape


@all_families()
def test_gap_is_a_mean_or_the_class_token(family):
    images = make_images(family)
    pooled = build(family, gap=True).eval()
    dense = build(family).eval()
    if family == 'GFNet':  # which normalizes vectors alone
        dense.norm3 = pooled.norm3
    dense.load_state_dict(pooled.state_dict())
    with torch.no_grad():
        (vector,), (feature,) = pooled(images), dense(images)
    mean = feature.mean(dim=(2, 3))
    if family in ISOTROPIC:
        assert not torch.allclose(vector, mean, atol=1e-2)
    else:
        torch.testing.assert_close(vector, mean)
    if family == 'CPVT':
        for gap in (True, False):
            backbone = build(family, gap=gap, with_cls_token=False)
            (output,) = backbone.eval()(images)
            if gap:
                mean = output
        torch.testing.assert_close(mean, output.mean(dim=(2, 3)))


@all_families()
def test_frozen_stages(family):
    images = make_images(family)
    for frozen_stages in (0, 1):
        backbone = build(
            family, drop_path_rate=0.5, frozen_stages=frozen_stages
        ).train()
        for name, parameter in backbone.named_parameters():
            part, i = name.split('.')[:2]
            frozen = part == 'downsample_layers' and i == '0'
            if frozen_stages == 1:
                frozen |= part == 'stages' and i == '0'
                frozen |= part == 'norm0'
            if 'pos_embed' not in name:
                assert parameter.requires_grad != frozen, name
        stage = backbone.stages[0]
        assert stage.training == (frozen_stages == 0)
        (feature,) = backbone(images)
        # All of a network of one stage is frozen with it.
        assert feature.requires_grad == (
            frozen_stages == 0 or family not in ISOTROPIC
        )


@all_families()
def test_with_cp_saves_activations_and_changes_nothing(family):
    gradients, saved = [], []
    for with_cp in (False, True):
        backbone = build(family, drop_path_rate=0.3, with_cp=with_cp)
        images = make_images(family)
        size = 0

        def pack(tensor):
            nonlocal size
            size += tensor.numel()
            return tensor

        torch.manual_seed(1)  # of stochastic depth
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            (feature,) = backbone(images)
        feature.square().sum().backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters()})
        saved.append(size)
    torch.testing.assert_close(*gradients)
    # Most of what EAMLP keeps is that of its stem.
    assert saved[1] < saved[0] * (0.95 if family == 'EAMLP' else 0.6)


@pytest.mark.parametrize(
    'backend',
    [
        'eager',
        pytest.param('aot_eager', marks=pytest.mark.slow),
        pytest.param('inductor', marks=pytest.mark.slow),
    ],
)
@all_families()
def test_compile_without_graph_breaks(family, backend):
    torch._dynamo.reset()
    # Tracing takes long, so only two stages.
    indices = out_indices(family)[:2]
    backbone = build(family, out_indices=indices).train()
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    compiled = torch.compile(backbone, fullgraph=True, backend=backend)
    images = make_images(family, -1)
    results = []
    for model in (backbone, compiled):
        backbone.zero_grad()
        features = model(images)
        sum(f.square().mean() for f in features).backward()
        gradients = {
            name: parameter.grad.clone()
            for name, parameter in backbone.named_parameters()
            if parameter.requires_grad
        }
        results.append((features, gradients))
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4)


@all_families()
def test_autocast(family):
    """As in float32, but for its rounding."""
    backbone = build(family).eval()
    images = make_images(family)
    with torch.no_grad():
        (expected,) = backbone(images)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (feature,) = backbone(images)
    error = (feature.float() - expected).abs().mean() / expected.std()
    assert error < 0.1
    feature.float().square().sum().backward()
    for parameter in backbone.parameters():
        if parameter.requires_grad:
            assert parameter.grad.isfinite().all()


@all_families()
def test_half_precision_and_other_channels(family):
    backbone = build(family, in_channels=4).eval().bfloat16()
    size = FAMILIES[family].sizes[0]
    with torch.no_grad():
        (feature,) = backbone(torch.rand(1, 4, *size).bfloat16())
    assert feature.dtype == torch.bfloat16


MIXERS = {
    'ActiveTokenMixer': {},
    'WaveMixer': {},
    'MorphMixer': dict(chunk_size=4),
    'ExternalAttention': dict(head_dims=8),
    'GlobalFilter': dict(grid_size=8),
    'PoolingAttention': dict(num_heads=4, pool_ratios=(1, 2)),
    'SelfAttention': dict(num_heads=2),
    'CycleMixer': {},
    'AxialShiftMixer': {},
    'ShiftMixer': {},
    'S2Mixer': {},
}


@pytest.mark.parametrize('mixer', MIXERS)
@all_families(among=[*DENSE, 'ViP'])
def test_mixers_of_other_families(family, mixer):
    cfg = dict(type=f'mmactive.{mixer}', **MIXERS[mixer])
    backbone = build(family, mixer=cfg, out_indices=(0, 1, 2, 3))
    mixers = [
        module
        for module in backbone.modules()
        if isinstance(module, MODELS.get(cfg['type']))
    ]
    assert len(mixers) == sum(FAMILIES[family].arch['depths'])
    shapes = [
        f.shape
        for f in build(family, out_indices=(0, 1, 2, 3))(make_images(family))
    ]
    assert [f.shape for f in backbone(make_images(family))] == shapes


@pytest.mark.parametrize(
    'mixer',
    [
        dict(type='mmactive.WaveMixer', depthwise=True),
        dict(type='mmactive.MorphMixer', chunk_size=16, strided=True),
        dict(type='mmactive.PermuteMixer', num_segments=4),
        dict(type='mmactive.ExternalAttention'),
        dict(type='mmactive.GlobalFilter'),
        dict(type='mmactive.PoolingAttention'),
        dict(type='mmactive.SelfAttention'),
    ],
    ids=lambda mixer: mixer['type'],
)
def test_mixers_in_activemlp(mixer):
    arch = dict(
        depths=[2],
        dims=[32],
        mlp_ratios=[2],
        shared_channels=[4],
        interval=2,
    )
    backbone = backbones.ActiveMLP(arch, out_indices=0, mixer=mixer)
    (feature,) = backbone(torch.rand(1, 3, 16, 16))
    assert feature.shape == (1, 32, 4, 4)


def test_init_weights():
    """As published: not every layer that is linear here was one there."""
    for family in FAMILIES:
        cls = getattr(backbones, family)
        arch = next(iter(cls.arch_settings.values()))
        arch = dict(arch, depths=[min(x, 5) for x in arch['depths']])
        backbone = cls(arch, gap=True)
        before = {k: x.clone() for k, x in backbone.state_dict().items()}
        torch.manual_seed(0)
        backbone.init_weights()
        for name, module in backbone.named_modules():
            weight = getattr(module, 'weight', None)
            if weight is None or weight.dim() == 1:
                continue
            std = weight.std().item()
            is_kept = torch.equal(weight, before[f'{name}.weight'])
            if isinstance(module, nn.Linear) and family != 'WaveMLP':
                assert std == pytest.approx(0.02, rel=0.1), (family, name)
                assert module.bias is None or not module.bias.any()
            elif family == 'CPVT':
                fan_out = weight[:, 0].numel() / module.groups
                expected = math.sqrt(2 / fan_out)
                assert std == pytest.approx(expected, rel=0.1), name
                assert not module.bias.any()
            else:
                assert is_kept, (family, name)  # PyTorch's own


def run_loop(mixer, layer, x, order):
    """MorphFC, a number at a time, on tokens in an order."""
    n, _, _, c = x.shape
    size = mixer.chunk_size
    depth = c // size
    places = list(order)
    places += [None] * (-len(places) % size)
    num_chunks = len(places) // size
    out = torch.zeros_like(x)
    for k in range(num_chunks):
        if mixer.strided:
            chunk = [places[k + i * num_chunks] for i in range(size)]
        else:
            chunk = places[k * size : (k + 1) * size]
        for g in range(size):
            channels = slice(g * depth, (g + 1) * depth)
            vector = x.new_zeros(n, c)
            for i, place in enumerate(chunk):
                if place is not None:
                    token = x[:, place[0], place[1], channels]
                    vector[:, i * depth : (i + 1) * depth] = token
            vector = F.linear(vector, layer.weight, layer.bias)
            for i, place in enumerate(chunk):
                if place is not None:
                    out[:, place[0], place[1], channels] = vector[
                        :, i * depth : (i + 1) * depth
                    ]
    return out


@pytest.mark.parametrize('size', [(4, 6), (5, 7), (2, 3)], ids=str)
@pytest.mark.parametrize('strided', [False, True])
@torch.no_grad()
def test_morph_mixer(strided, size):
    """Chunks at all sizes; at 224x224 strided ones are not seen."""
    torch.manual_seed(0)
    mixer = backbones.MorphMixer(8, chunk_size=4, strided=strided).double()
    x = torch.randn(2, *size, 8, dtype=torch.float64)
    height, width = size
    rows = [(i, j) for i in range(height) for j in range(width)]
    columns = [(i, j) for j in range(width) for i in range(height)]
    if strided:
        branches = [run_loop(mixer, mixer.fc_h, x, rows)]
    else:
        branches = [
            run_loop(mixer, mixer.fc_h, x, columns),
            run_loop(mixer, mixer.fc_w, x, rows),
        ]
    branches.append(F.linear(x, mixer.fc_c.weight, mixer.fc_c.bias))
    mean = sum(branches).mean(dim=(1, 2))
    fusion = mixer.fusion
    weights = fusion.fc2(F.gelu(fusion.fc1(mean))).view(2, 8, len(branches))
    weights = weights.softmax(dim=2)[:, None, None]
    fused = sum(x * weights[..., i] for i, x in enumerate(branches))
    torch.testing.assert_close(mixer(x), mixer.proj(fused))


@pytest.mark.parametrize('size', [(6, 6), (5, 7), (4, 9)], ids=str)
@torch.no_grad()
def test_global_filter_is_a_circular_convolution(size):
    torch.manual_seed(0)
    mixer = backbones.GlobalFilter(3, grid_size=6).double()
    x = torch.randn(2, *size, 3, dtype=torch.float64)
    weight = mixer.complex_weight.permute(2, 3, 0, 1)
    half = size[0], size[1] // 2 + 1
    weight = F.interpolate(weight, half, mode='bicubic', align_corners=True)
    kernel = torch.fft.irfft2(
        torch.complex(weight[:, 0], weight[:, 1]), s=size
    )
    expected = torch.zeros_like(x)
    for i in range(size[0]):
        for j in range(size[1]):
            expected += x.roll((i, j), dims=(1, 2)) * kernel[:, i, j]
    torch.testing.assert_close(mixer(x), expected)


def test_global_filter_computes_in_float32():
    mixer = backbones.GlobalFilter(8, grid_size=14)
    x = torch.randn(1, 14, 14, 8).bfloat16()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = mixer(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, mixer(x.float()))


@torch.no_grad()
def test_gfnet_takes_weights_for_other_images():
    """Resized when they are loaded, as when the image comes."""
    weights = build('GFNet', img_size=64, gap=True).state_dict()
    images = torch.randn(2, 3, 96, 96)
    features = []
    for img_size in (64, 96):
        backbone = build('GFNet', img_size=img_size, gap=True).eval()
        backbone.load_state_dict(weights)
        features.append(backbone(images)[0])
    torch.testing.assert_close(*features)
    name = 'downsample_layers.0.pos_embed'
    assert weights[name].shape == (1, 256, 8)  # as it was
    grid = weights[name].view(1, 16, 16, 8).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (24, 24), mode='bicubic', align_corners=False)
    torch.testing.assert_close(
        backbone.state_dict()[name], grid.permute(0, 2, 3, 1).flatten(1, 2)
    )
    for name, shape in (
        ('downsample_layers.0.pos_embed', (1, 250, 8)),
        ('stages.0.0.mixer.complex_weight', (16, 8, 8, 2)),
        ('stages.0.0.mixer.complex_weight', (16, 9, 4, 2)),
    ):
        spoilt = dict(weights, **{name: torch.zeros(shape)})
        with pytest.raises(RuntimeError, match=f'size mismatch for {name}'):
            backbone.load_state_dict(spoilt)


@torch.no_grad()
def test_pooling_attention():
    """Against plain formulas; halves are rounded to even numbers."""
    torch.manual_seed(0)
    mixer = backbones.PoolingAttention(8, num_heads=2, pool_ratios=(2, 4))
    mixer.double()
    x = torch.randn(2, 10, 6, 8, dtype=torch.float64)
    image = x.permute(0, 3, 1, 2)
    pooled = []
    for conv, size in zip(mixer.pooling.convs, ((5, 3), (2, 2))):
        small = F.adaptive_avg_pool2d(image, size)
        encoding = F.conv2d(small, conv.weight, conv.bias, padding=1, groups=8)
        pooled.append((small + encoding).flatten(2))
    pooled = F.layer_norm(
        torch.cat(pooled, dim=2).mT, (8,), mixer.norm.weight, mixer.norm.bias
    )
    q = mixer.q(x.flatten(1, 2))
    k, v = mixer.kv(pooled)[..., :8], mixer.kv(pooled)[..., 8:]
    heads = []
    for head in (slice(4), slice(4, 8)):
        attention = (q[..., head] @ k[..., head].mT / 2).softmax(dim=-1)
        heads.append(attention @ v[..., head])
    expected = mixer.proj(torch.cat(heads, dim=-1)).view_as(x)
    torch.testing.assert_close(mixer(x), expected)


def test_blocks_of_p2t_share_their_convolutions():
    with torch.device('meta'):
        backbone = backbones.P2T('tiny')
    names = [n for n in backbone.state_dict() if 'pooling' in n]
    assert len(names) == 4 * 4 * 2


@pytest.mark.parametrize(
    ('family', 'size', 'message'),
    [
        ('ViP', (160, 192), 'ViP takes images of 224 x 224 .*160 x 192'),
        ('ViP', (230, 230), 'ViP takes images of 224 x 224 .*230 x 230'),
        ('EAMLP', (256, 256), 'EAMLP takes images of 224 x 224 .*256 x 256'),
        ('P2T', (64, 80), 'at least 65 x 65 pixels, but got 64 x 80'),
    ],
)
def test_wrong_sizes_of_images(family, size, message):
    with torch.device('meta'):
        backbone = getattr(backbones, family)()
        with pytest.raises(ValueError, match=message):
            backbone(torch.rand(1, 3, *size))


@pytest.mark.parametrize(('arch', 'size'), [('tiny', 65), ('v1-tiny', 96)])
def test_smallest_images_of_p2t(arch, size):
    with torch.device('meta'):
        backbone = backbones.P2T(arch)
        assert backbone(torch.rand(1, 3, size, size))[0].shape[2:] == (3, 3)
        assert backbone.min_size == size


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: backbones.MorphMixer(16, 3), 'chunk_size .*3 and 16'),
        (lambda: backbones.PermuteMixer(16, 5), 'num_segments .*5 and 16'),
        (
            lambda: backbones.PermuteMixer(16, 4)(torch.rand(1, 4, 5, 16)),
            'maps of 4 x 4 tokens, but got 4 x 5',
        ),
        (lambda: backbones.ExternalAttention(6), r'head_dims .*64 and 4 \* 6'),
        (lambda: backbones.PoolingAttention(6), 'num_heads .*8 and 6'),
        (lambda: backbones.SelfAttention(6, 4), 'num_heads .*4 and 6'),
        (
            lambda: backbones.PoolingAttention(8)(torch.rand(1, 2, 9, 8)),
            r'at least 3 x 3 tokens, but got 2 x 9',
        ),
        (lambda: backbones.GFNet(img_size=16), 'img_size .*32, but got 16'),
        (lambda: backbones.CPVT(num_pegs=13), r'\[0, 12\], but got 13'),
        (
            lambda: backbones.EAMLP(
                dict(depths=[1, 1], dims=[8, 8], mlp_ratios=[2, 2])
            ),
            r'arch must have 1 stage\(s\), but got 2',
        ),
        (
            lambda: backbones.ViP(
                dict(FAMILIES['ViP'].arch, num_segments=[8, 4, 4, 4])
            ),
            'num_segments.*8, 4, 4, 4',
        ),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def train_step(model, data):
    """A step of training; every parameter of the backbone takes part."""
    model.init_weights()
    model.train()
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.backbone.named_parameters():
        assert parameter.grad.isfinite().all(), name


@all_families(among=DENSE)
def test_detector(family):
    from mmdet.structures import DetDataSample
    from mmengine.hub import get_config

    model_cfg = get_config('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py')
    model_cfg = model_cfg.model
    arch = FAMILIES[family].arch
    model_cfg.backbone = dict(
        type=f'mmactive.{family}', arch=arch, out_indices=(1, 2, 3)
    )
    model_cfg.neck.update(in_channels=arch['dims'][1:], start_level=0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(model_cfg)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(96, 128), ori_shape=(96, 128), scale_factor=(1.0, 1.0)
        )
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[4.0, 8.0, 60.0, 70.0]]), labels=torch.tensor([3])
    )
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
    train_step(model, dict(inputs=[image], data_samples=[sample]))


@all_families(among=DENSE)
def test_segmentor(family):
    from mmengine.hub import get_config
    from mmseg.structures import SegDataSample

    model_cfg = get_config(
        'mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py'
    ).model
    arch = FAMILIES[family].arch
    model_cfg.update(pretrained=None)
    model_cfg.backbone = dict(
        type=f'mmactive.{family}', arch=arch, out_indices=(0, 1, 2, 3)
    )
    model_cfg.neck.in_channels = arch['dims']
    model_cfg.data_preprocessor.size = (96, 128)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(model_cfg)
    labels = torch.randint(0, 150, (1, 96, 128))
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=labels),
        metainfo=dict(img_shape=(96, 128), ori_shape=(96, 128)),
    )
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
    train_step(
        model, dict(inputs=[image, image], data_samples=[sample, sample])
    )
