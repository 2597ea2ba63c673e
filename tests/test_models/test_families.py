# Copyright (c) mmactive contributors. All rights reserved.
"""What single families of backbones have of their own.

What all have in common is in ``test_backbones.py``, and that they compute what
the published ones do is in ``test_published.py``.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmactive.models import backbones

GFNET = dict(
    depths=[1, 1, 2, 1],
    dims=[8, 16, 16, 24],
    mlp_ratios=[2, 2, 2, 2],
    patch_size=4,
    layer_scale=0.5,
)


@pytest.mark.parametrize(
    ('family', 'kwargs', 'params'),
    [
        # Classifiers without head: their parameters are published.
        ('GFNet', dict(arch='h-tiny', img_size=512), 22_371_880 - 513_000),
        ('GFNet', dict(arch='h-base', img_size=512), 70_314_568 - 769_000),
        ('CPVT', dict(arch='base', num_pegs=1), 86_424_040 - 769_000),
        ('CPVT', dict(arch='tiny', num_pegs=1), 5_681_512 - 193_000),
        ('CPVT', dict(arch='base', with_cls_token=False), 85_684_992),
        ('CPVT', dict(arch='tiny', with_cls_token=False), 5_496_000),
    ],
    ids=str,
)
def test_parameters_of_options(family, kwargs, params):
    with torch.device('meta'):
        backbone = getattr(backbones, family)(**kwargs, gap=True)
    assert sum(x.numel() for x in backbone.parameters()) == params


def test_position_encoding_of_eamlp():
    """It is no weight that trains; entries by their formula."""
    backbone = backbones.EAMLP(dict(depths=[1], dims=[32], mlp_ratios=[2]))
    pos_embed = backbone.downsample_layers[0].pos_embed
    assert not pos_embed.requires_grad
    backbone.init_weights()
    assert pos_embed.shape == (1, 197, 32)
    for pos, j in ((0, 0), (0, 1), (1, 0), (7, 5), (196, 30), (196, 31)):
        angle = pos / 10000 ** (2 * (j // 2) / 32)
        expected = math.cos(angle) if j % 2 else math.sin(angle)
        assert pos_embed[0, pos, j].item() == pytest.approx(expected, abs=1e-6)


CPVT = dict(depths=[2], dims=[32], mlp_ratios=[2], num_heads=[2])


@pytest.mark.parametrize(
    ('build', 'size'),
    [
        (
            lambda: backbones.EAMLP(
                dict(depths=[2], dims=[32], mlp_ratios=[2])
            ),
            (224, 224),
        ),
        (lambda: backbones.CPVT(CPVT, num_pegs=1), (48, 64)),
    ],
    ids=['EAMLP', 'CPVT'],
)
@torch.no_grad()
def test_class_token(build, size):
    """It is what ``gap`` returns, and no part of the map."""
    backbone = build().eval()
    tokens = []
    backbone.norm0.register_forward_hook(
        lambda module, args, output: tokens.append(output)
    )
    images = torch.rand(2, 3, *size)
    (feature,) = backbone(images)
    backbone.gap = True
    (vector,) = backbone(images)
    (stage,) = backbone.iter_stages(images)
    assert torch.equal(backbone.norm0(stage), tokens[0])
    assert torch.equal(feature.flatten(2).mT, tokens[0][:, 1:])
    assert torch.equal(vector, tokens[1][:, 0])


@torch.no_grad()
def test_cpvt_without_class_token_takes_the_mean():
    backbone = backbones.CPVT(CPVT, num_pegs=1, with_cls_token=False).eval()
    images = torch.rand(2, 3, 48, 64)
    (feature,) = backbone(images)
    backbone.gap = True
    (vector,) = backbone(images)
    torch.testing.assert_close(vector, feature.mean(dim=(2, 3)))


@torch.no_grad()
def test_gfnet_normalizes_vectors_alone():
    arch = dict(GFNET, layer_scale=None)
    assert isinstance(backbones.GFNet(arch).norm3, nn.Identity)
    assert isinstance(backbones.GFNet(arch, gap=True).norm3, nn.LayerNorm)


@torch.no_grad()
def test_stochastic_depth_of_blocks_with_a_forward_of_their_own():
    images = torch.rand(2, 3, 96, 96)
    p2t = dict(
        backbones.P2T.arch_settings['tiny'],
        depths=[1, 1, 1, 1],
        dims=[8, 8, 8, 8],
        num_heads=[1, 1, 1, 1],
    )
    for backbone in (
        backbones.GFNet(GFNET, drop_path_rate=0.9, out_indices=(0, 3)),
        backbones.P2T(p2t, drop_path_rate=0.9, out_indices=(0, 3)),
    ):
        outputs = [backbone.train()(images) for _ in range(8)]
        # The rate rises from 0.
        assert all(torch.equal(x[0], outputs[0][0]) for x in outputs)
        assert not all(torch.equal(x[1], outputs[0][1]) for x in outputs)


def test_init_weights():
    """As published: not every layer that is linear here was one there."""
    for family in (
        'WaveMLP',
        'MorphMLP',
        'ViP',
        'EAMLP',
        'GFNet',
        'P2T',
        'CPVT',
    ):
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
            was_conv = family == 'WaveMLP' or (
                family == 'P2T' and '.ffn.' in name
            )
            if isinstance(module, nn.Linear) and not was_conv:
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
    weights = backbones.GFNet(GFNET, img_size=64, gap=True).state_dict()
    images = torch.randn(2, 3, 96, 96)
    features = []
    for img_size in (64, 96):
        backbone = backbones.GFNet(GFNET, img_size=img_size, gap=True).eval()
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
        ('CPVT', (15, 80), 'at least 16 x 16 pixels, but got 15 x 80'),
        ('GFNet', (31, 80), 'at least 32 x 32 pixels, but got 31 x 80'),
        ('S2MLP', (80, 15), 'at least 16 x 16 pixels, but got 80 x 15'),
        ('ShiftViT', (80, 31), 'at least 32 x 32 pixels, but got 80 x 31'),
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
                dict(
                    depths=[1, 1],
                    dims=[16, 16],
                    mlp_ratios=[2, 2],
                    num_segments=[8, 4],
                )
            ),
            'num_segments.*8, 4',
        ),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
