# Copyright (c) mmactive contributors. All rights reserved.
"""What all backbones have in common. ActiveMLP has tests of its own, too."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import nn

from mmactive.models import backbones
from mmactive.registry import MODELS
from mmactive.utils.complexity import count_complexity

# Parameters and multiply-adds at 224x224 of the classifier, parameters of the
# dense backbone (0: there is none), as the published code has them.
COUNTS = {
    ('ASMLP', 'tiny'): (28_282_696, 4_350_425_088, 27_515_040),
    ('ASMLP', 'small'): (49_594_696, 8_512_223_232, 48_827_040),
    ('ASMLP', 'base'): (87_752_808, 15_126_077_440, 86_729_600),
    ('CPVT', 'tiny'): (5_689_192, 1_255_376_640, 0),
    ('CPVT', 'small'): (21_994_216, 4_602_269_184, 0),
    ('CPVT', 'base'): (86_454_760, 17_570_601_984, 0),
    ('CycleMLP', 'b1'): (15_155_400, 2_121_523_200, 14_643_424),
    ('CycleMLP', 'b2'): (26_802_504, 3_875_766_272, 26_290_528),
    ('CycleMLP', 'b3'): (38_385_720, 6_830_968_832, 37_873_744),
    ('CycleMLP', 'b4'): (51_796_552, 10_027_163_648, 51_284_576),
    ('CycleMLP', 'b5'): (75_747_280, 12_232_436_736, 74_979_624),
    ('CycleMLP', 'tiny'): (28_260_616, 4_350_425_088, 27_492_960),
    ('CycleMLP', 'small'): (49_549_576, 8_512_223_232, 48_781_920),
    ('CycleMLP', 'base'): (87_692_648, 15_126_077_440, 86_669_440),
    ('EAMLP', '14'): (29_877_070, 6_450_351_104, 0),
    ('EAMLP', '19'): (54_559_054, 11_597_669_888, 0),
    ('GFNet', 'tiny'): (7_511_784, 1_271_916_544, 0),
    ('GFNet', 'xs'): (15_985_768, 2_832_718_848, 0),
    ('GFNet', 'small'): (24_869_608, 4_451_195_904, 0),
    ('GFNet', 'base'): (43_120_616, 7_887_376_384, 0),
    ('GFNet', 'h-tiny'): (15_085_096, 2_039_664_640, 14_571_072),
    ('GFNet', 'h-small'): (32_162_632, 4_581_636_096, 31_392_096),
    ('GFNet', 'h-base'): (53_744_200, 8_512_223_232, 52_973_664),
    ('MorphMLP', 'tiny'): (23_393_908, 3_957_651_012, 22_806_084),
    ('MorphMLP', 'small'): (40_548_122, 6_944_703_360, 39_764_578),
    ('MorphMLP', 'base'): (57_979_494, 10_204_490_688, 57_195_950),
    ('MorphMLP', 'large'): (76_185_612, 12_438_404_608, 75_402_068),
    ('P2T', 'v1-tiny'): (11_109_864, 1_923_048_448, 10_596_864),
    ('P2T', 'v1-small'): (23_008_552, 3_641_327_232, 22_495_552),
    ('P2T', 'v1-base'): (36_153_256, 6_353_043_328, 35_640_256),
    ('P2T', 'tiny'): (11_590_840, 1_788_868_608, 11_205_840),
    ('P2T', 'small'): (24_079_848, 3_773_591_168, 23_566_848),
    ('P2T', 'base'): (36_066_408, 6_532_168_064, 35_553_408),
    ('P2T', 'medium'): (40_861_480, 7_323_416_960, 40_348_480),
    ('P2T', 'large'): (54_477_096, 9_828_360_064, 53_836_096),
    ('S2MLP', 'wide'): (72_241_384, 13_989_033_984, 0),
    ('S2MLP', 'deep'): (53_917_288, 10_462_682_112, 0),
    ('ShiftViT', 'tiny'): (28_566_664, 4_581_636_096, 27_799_008),
    ('ShiftViT', 'small'): (50_304_136, 8_743_434_240, 49_536_480),
    ('ShiftViT', 'base'): (89_026_408, 15_537_119_232, 88_003_200),
    ('ShiftViT', 'tiny-light'): (19_608_328, 2_963_159_040, 18_840_672),
    ('ShiftViT', 'small-light'): (33_796_360, 5_737_691_136, 33_028_704),
    ('ShiftViT', 'base-light'): (59_708_776, 10_193_575_936, 58_685_568),
    ('ShiftViT', 'tiny-r4'): (31_426_312, 4_581_636_096, 30_658_656),
    ('ShiftViT', 'small-r4'): (51_523_336, 8_512_223_232, 50_755_680),
    ('ShiftViT', 'base-r4'): (87_271_528, 15_126_077_440, 86_248_320),
    ('ViP', 'small'): (25_114_984, 6_901_767_168, 0),
    ('ViP', 'medium'): (55_272_488, 16_284_307_456, 0),
    ('ViP', 'large'): (87_784_936, 24_340_320_256, 0),
    ('WaveMLP', 'tiny-dw'): (15_286_472, 2_163_068_928, 14_774_496),
    ('WaveMLP', 'tiny'): (17_193_160, 2_461_515_776, 16_681_184),
    ('WaveMLP', 'small'): (30_708_040, 4_522_033_152, 30_196_064),
    ('WaveMLP', 'medium'): (44_056_632, 7_872_221_184, 43_544_656),
    ('WaveMLP', 'base'): (63_586_360, 10_215_309_312, 62_818_704),
    ('WaveMLP', 'small-dw'): (27_056_456, 3_940_392_960, 26_544_480),
    ('WaveMLP', 'medium-dw'): (38_769_720, 6_932_525_056, 38_257_744),
    ('WaveMLP', 'base-dw'): (55_878_712, 8_870_040_576, 55_111_056),
}

STAGES = dict(depths=[1, 1, 2, 1], dims=[12, 16, 24, 32])
RATIOS = dict(mlp_ratios=[2, 2, 2, 2])
# Small networks: arguments, and the sizes of the outputs for 75 x 101 pixels
# or for the only size that there is.
STRIDED = [(18, 25), (9, 12), (4, 6), (2, 3)]
PADDED = [(19, 26), (10, 13), (5, 7), (3, 4)]
SMALL = {
    'ActiveMLP': (
        dict(
            arch=dict(
                STAGES, **RATIOS, shared_channels=[2, 2, 4, 4], interval=2
            )
        ),
        [(19, 25), (10, 13), (5, 7), (3, 4)],
    ),
    'ASMLP': (dict(arch=dict(STAGES, **RATIOS)), PADDED),
    'CPVT': (
        dict(
            arch=dict(depths=[2], dims=[16], mlp_ratios=[2], num_heads=[2]),
            num_pegs=1,
        ),
        [(4, 6)],
    ),
    'CycleMLP': (
        dict(arch=dict(STAGES, **RATIOS, swin=False)),
        [(19, 25), (10, 13), (5, 7), (3, 4)],
    ),
    'CycleMLP-swin': (
        dict(arch=dict(STAGES, **RATIOS, swin=True)),
        PADDED,
    ),
    'EAMLP': (
        dict(arch=dict(depths=[2], dims=[32], mlp_ratios=[2])),
        [(14, 14)],
    ),
    'GFNet': (
        dict(arch=dict(STAGES, **RATIOS, patch_size=4, layer_scale=0.5)),
        STRIDED,
    ),
    'MorphMLP': (
        dict(arch=dict(STAGES, **RATIOS, chunk_sizes=[4, 4, 8, 8])),
        PADDED,
    ),
    'P2T': (
        dict(
            arch=dict(
                STAGES,
                **RATIOS,
                num_heads=[1, 2, 2, 4],
                pool_ratios=[[4, 8], [2, 4], [1, 2], [1, 2]],
                overlap=True,
            )
        ),
        PADDED,
    ),
    'S2MLP': (
        dict(arch=dict(depths=[3], dims=[18], mlp_ratios=[2], affine=True)),
        [(4, 6)],
    ),
    'ShiftViT': (dict(arch=dict(STAGES, **RATIOS, num_div=12)), STRIDED),
    'ViP': (
        dict(
            arch=dict(
                depths=[1, 1, 2, 1],
                dims=[16, 16, 24, 24],
                **RATIOS,
                num_segments=[8, 8, 4, 4],
            )
        ),
        [(8, 8), (8, 8), (4, 4), (4, 4)],
    ),
    'WaveMLP': (
        dict(
            arch=dict(
                STAGES,
                **RATIOS,
                depthwise=True,
                norm_cfg=dict(type='GN', num_groups=1),
                downsample_norm=True,
            )
        ),
        [(19, 25), (10, 13), (5, 7), (3, 4)],
    ),
}
IMAGE_SIZES = {'EAMLP': (224, 224), 'ViP': (56, 56)}
DENSE = [
    name
    for name, (_, sizes) in SMALL.items()
    if len(sizes) == 4 and name not in IMAGE_SIZES
]
MIXERS = {
    'ActiveTokenMixer': {},
    'AxialShiftMixer': {},
    'CycleMixer': {},
    'ExternalAttention': dict(head_dims=8),
    'GlobalFilter': {},
    'MorphMixer': dict(chunk_size=4),
    'PoolingAttention': dict(num_heads=4, pool_ratios=(1, 2)),
    'S2Mixer': {},
    'SelfAttention': dict(num_heads=4),
    'ShiftMixer': {},
    'WaveMixer': {},
}


def make_cfg(name, **kwargs):
    """Makes the config of a small network with all of its outputs."""
    arguments, sizes = SMALL[name]
    cfg = dict(
        arguments,
        type=f'mmactive.{name.partition("-")[0]}',
        out_indices=tuple(range(len(sizes))),
    )
    return {**cfg, **kwargs}


def build(name, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(make_cfg(name, **kwargs))


def make_image(name, height=64, width=64):
    """Makes images of a size, or of the only one that a network takes."""
    return torch.rand(2, 3, *IMAGE_SIZES.get(name, (height, width)))


def train(model, image):
    """Returns the gradients of a step of training."""
    model.zero_grad()
    # The mean square of what is normalized would not depend on it.
    sum(x.float().sin().mean() for x in model(image)).backward()
    return {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ('name', 'arch'),
    [
        key
        if key[1] in ('14', 'b1', 'h-tiny', 'tiny', 'tiny-dw', 'wide')
        else pytest.param(*key, marks=pytest.mark.slow)
        for key in COUNTS
    ],
)
def test_counts_are_those_of_the_published_networks(name, arch):
    params, macs, dense_params = COUNTS[name, arch]
    cls = getattr(backbones, name)
    with torch.device('meta'):
        backbone = cls(arch, gap=True).eval()
        head = nn.Linear(backbone.arch['dims'][-1], 1000)
    backbone.register_forward_hook(lambda *args: head(args[2][0]))
    complexity = count_complexity(backbone, (224, 224))
    assert complexity.macs == macs
    assert complexity.params + count_parameters(head) == params
    if dense_params:
        with torch.device('meta'):
            backbone = cls(arch, out_indices=(0, 1, 2, 3))
        assert count_parameters(backbone) == dense_params


@pytest.mark.parametrize('name', SMALL)
def test_outputs(name):
    """Contiguous maps of the right size for an odd image; and their means."""
    arguments, sizes = SMALL[name]
    backbone = build(name).eval()
    image = make_image(name, 75, 101)
    features = backbone(image)
    for feature, size, dim in zip(features, sizes, arguments['arch']['dims']):
        assert feature.shape == (2, dim, *size)
        assert feature.is_contiguous()
    pooled = build(name, gap=True).eval()(image)
    for vector, feature in zip(pooled, features):
        assert vector.shape == feature.shape[:2]
        # GFNet normalizes vectors alone, two take the class token.
        if name not in ('CPVT', 'EAMLP', 'GFNet'):
            torch.testing.assert_close(vector, feature.mean(dim=(2, 3)))


@pytest.mark.parametrize('name', SMALL)
def test_gradients_with_less_memory(name):
    """Recomputation and stochastic depth, and every parameter takes part."""
    image = make_image(name)
    grads = []
    for with_cp in (False, True):
        model = build(name, with_cp=with_cp, drop_path_rate=0.3)
        model.train()
        torch.manual_seed(1)
        grads.append(train(model, image))
    assert all(grad is not None for grad in grads[0].values())
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize('name', DENSE)
def test_frozen_stages(name):
    model = build(name, frozen_stages=2, drop_path_rate=0.9)
    model.init_weights()
    model.train()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    frozen = {n for n, _ in model.named_parameters()} - trained
    for part, i in (
        [('downsample_layers.', i) for i in range(4)]
        + [('stages.', i) for i in range(4)]
        + [('norm', i) for i in range(4)]
    ):
        names = frozen if i < 2 else trained
        others = trained if i < 2 else frozen
        # ShiftMixer has no parameters, a stage always has.
        has_part = hasattr(getattr(model, f'{part}{i}', None), 'weight')
        if has_part or part != 'norm':
            assert any(n.startswith(f'{part}{i}.') for n in names)
        assert not any(n.startswith(f'{part}{i}.') for n in others)
    image = torch.rand(2, 3, 64, 64)
    first, second = model(image), model(image)
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[3], second[3])


@pytest.mark.parametrize('name', SMALL)
def test_autocast(name):
    model = build(name).train()
    image = make_image(name)
    for module in model.modules():  # of EAMLP's stem
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    expected = train(model, image)
    with torch.autocast('cpu', torch.bfloat16):
        actual = train(model, image)
    assert all(grad.isfinite().all() for grad in actual.values())
    errors = [
        (actual[key] - grad).norm() / grad.norm()
        for key, grad in expected.items()
    ]
    assert torch.tensor(errors).median() < 0.05


@pytest.mark.parametrize(
    'backend',
    [
        'eager',
        pytest.param('aot_eager', marks=pytest.mark.slow),
        pytest.param('inductor', marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize('name', SMALL)
def test_compiles_without_graph_breaks(name, backend):
    torch._dynamo.reset()
    # Tracing takes its time: one stage, or two and the step between them.
    indices = (0, 1) if name in DENSE and backend != 'eager' else 0
    model = build(name, out_indices=indices)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    image = make_image(name, 64, 96)
    outputs = compiled(image)
    torch.testing.assert_close(outputs, model(image))
    sum(x.sin().mean() for x in outputs).backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    torch.testing.assert_close(train(model, image), grads)


@pytest.mark.parametrize('mixer', MIXERS)
@pytest.mark.parametrize('name', ['ActiveMLP', 'ASMLP', 'P2T', 'ShiftViT'])
def test_mixers_of_other_families(name, mixer):
    model = build(name, mixer=dict(type=f'mmactive.{mixer}', **MIXERS[mixer]))
    kinds = [type(m).__name__ for m in model.modules()]
    assert kinds.count(mixer) == 5
    outputs = model(torch.rand(1, 3, 64, 96))
    assert outputs[3].shape == (1, 32, 2, 3)


def take_step(model, data):
    """Does a step of training, in which all parameters take part."""
    model.init_weights()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = {n: p.clone() for n, p in model.backbone.named_parameters()}
    losses = model.train_step(data, OptimWrapper(optimizer))
    assert all(torch.isfinite(value).all() for value in losses.values())
    for name, parameter in model.backbone.named_parameters():
        assert parameter.isfinite().all()
        assert not torch.equal(parameter, before[name]), name


def build_method(base, name, out_indices):
    """Builds a method of a library on a small backbone."""
    cfg = Config.fromstring(f'_base_ = {base!r}', '.py').model
    cfg.backbone = dict(make_cfg(name), out_indices=out_indices)
    dims = SMALL[name][0]['arch']['dims']
    cfg.neck.update(
        in_channels=[dims[i] for i in out_indices],
        out_channels=16,
        start_level=0,
    )
    if 'bbox_head' in cfg:
        cfg.bbox_head.update(in_channels=16, feat_channels=16)
    else:
        cfg.decode_head.update(in_channels=[16] * 4, channels=16)
    cfg.pop('pretrained', None)
    return revert_sync_batchnorm(MODELS.build(cfg))


@pytest.mark.parametrize('name', DENSE)
def test_detector(name):
    from mmdet.structures import DetDataSample

    init_default_scope('mmdet')
    model = build_method(
        'mmdet::_base_/models/retinanet_r50_fpn.py', name, (1, 2, 3)
    )
    sample = DetDataSample(metainfo=dict(img_shape=(75, 101)))
    boxes = torch.tensor([[4.0, 8.0, 60.0, 70.0], [50.0, 30.0, 99.0, 70.0]])
    sample.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([3, 7])
    )
    image = torch.randint(0, 256, (3, 75, 101), dtype=torch.uint8)
    take_step(model, dict(inputs=[image], data_samples=[sample]))


@pytest.mark.parametrize('name', DENSE)
def test_segmentor(name):
    from mmseg.structures import SegDataSample

    init_default_scope('mmseg')
    model = build_method('mmseg::_base_/models/fpn_r50.py', name, (0, 1, 2, 3))
    model.data_preprocessor.size = (75, 101)
    labels = torch.randint(0, 19, (1, 75, 101))
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=labels),
        metainfo=dict(img_shape=(75, 101)),
    )
    image = torch.randint(0, 256, (3, 75, 101), dtype=torch.uint8)
    take_step(model, dict(inputs=[image], data_samples=[sample]))
