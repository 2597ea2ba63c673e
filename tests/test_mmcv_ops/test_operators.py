# Copyright (c) mmactive contributors. All rights reserved.
"""mmcv's public functions on the supplied operators.

The values are compared with loops in float64, the gradients with differences
of the values.
"""

import importlib

import numpy as np
import pytest
import slow_operators as slow
import torch
from torch.autograd import gradcheck

pytest.importorskip('mmcv')
extension = pytest.importorskip('mmactive.mmcv_ops.extension')

from mmcv import ops  # noqa: E402

MODULES = (
    *('carafe', 'deform_conv', 'focal_loss', 'masked_conv'),
    *('modulated_deform_conv', 'multi_scale_deform_attn', 'nms', 'psa_mask'),
    *('roi_align', 'roi_pool'),
)


@pytest.fixture(autouse=True)
def supplied(monkeypatch):
    """Replaces compiled operators, where there are some."""
    torch.manual_seed(0)
    for name in MODULES:
        module = importlib.import_module(f'mmcv.ops.{name}')
        monkeypatch.setattr(module, 'ext_module', extension)


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def uniform(*shape):
    return torch.rand(shape, dtype=torch.float64, requires_grad=True)


def equal(result, expected, **tolerance):
    expected = torch.from_numpy(np.asarray(expected))
    torch.testing.assert_close(
        result.detach().double(), expected.double(), **tolerance
    )


def random_boxes(count):
    starts = torch.rand(count, 2, dtype=torch.float64) * 10
    sides = 3 + torch.rand(count, 2, dtype=torch.float64) * 7
    return torch.cat((starts, starts + sides), 1)


def random_scores(count):
    """In steps that no decay makes equal."""
    return (torch.randperm(count) + 1).double() / count


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('count', [0, 1, 60])
def test_nms(count, offset):
    boxes, scores = random_boxes(count), random_scores(count)
    dets, kept = ops.nms(boxes.float(), scores.float(), 0.4, offset)
    expected = slow.nms(boxes.numpy(), scores.numpy(), 0.4, offset)
    assert kept.tolist() == expected
    assert count < 60 or len(kept) < 40
    equal(
        dets, torch.cat((boxes, scores[:, None]), 1)[kept], rtol=1e-6, atol=0
    )


def test_nms_offset_matters():
    """Boxes 0 to 9 and 0 to 4: a half without, 5 of 10 columns with."""
    boxes = torch.tensor([[0, 0, 9, 9], [0, 0, 4, 9], [0, 0, 9, 9]]).float()
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert ops.nms(boxes, scores, 0.45, 0)[1].tolist() == [0, 1]
    assert ops.nms(boxes, scores, 0.45, 1)[1].tolist() == [0]


def test_nms_of_numpy_with_thresholds():
    boxes, scores = random_boxes(30).numpy(), random_scores(30).numpy()
    _, kept = ops.nms(
        boxes.astype(np.float32),
        scores.astype(np.float32),
        0.3,
        score_threshold=0.5,
        max_num=4,
    )
    expected = slow.nms(boxes, scores, 0.3)
    assert kept.tolist() == [i for i in expected if scores[i] > 0.5][:4]


@pytest.mark.parametrize(
    ('class_agnostic', 'split_thr'),
    [(False, 10000), (False, 1), (True, 10000)],
)
def test_batched_nms(class_agnostic, split_thr):
    boxes, scores = random_boxes(60), random_scores(60)
    classes = torch.randint(3, (60,))
    config = dict(type='nms', iou_threshold=0.4, split_thr=split_thr)
    dets, kept = ops.batched_nms(
        boxes.float(), scores.float(), classes, config, class_agnostic
    )
    expected = []
    for c in range(3) if not class_agnostic else [None]:
        of_class = torch.arange(60) if c is None else (classes == c).nonzero()
        of_class = of_class.flatten()
        part = slow.nms(boxes[of_class].numpy(), scores[of_class].numpy(), 0.4)
        expected += of_class[part].tolist()
    assert kept.tolist() == sorted(expected, key=lambda i: -scores[i])
    equal(dets[:, 4], scores[kept], rtol=1e-6, atol=0)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('count', [0, 1, 40])
def test_soft_nms(count, method, offset):
    boxes, scores = random_boxes(count), random_scores(count)
    settings = dict(sigma=0.5, min_score=0.1, method=method, offset=offset)
    dets, kept = ops.soft_nms(boxes.float(), scores.float(), 0.3, **settings)
    expected = slow.soft_nms(boxes.numpy(), scores.numpy(), 0.3, **settings)
    assert kept.tolist() == [i for i, _ in expected]
    assert count < 40 or len(kept) < 40
    equal(dets[:, :4], boxes[kept], rtol=1e-6, atol=0)
    equal(dets[:, 4], [score for _, score in expected], rtol=1e-5, atol=0)


def test_soft_nms_keeps_its_first_box():
    """However low its score, as mmcv does."""
    boxes, scores = random_boxes(1).float(), torch.tensor([1e-5])
    assert len(ops.soft_nms(boxes, scores, min_score=0.1)[1]) == 1


@pytest.mark.parametrize('count', [0, 1, 30])
def test_nms_match(count):
    dets = torch.cat((random_boxes(count), random_scores(count)[:, None]), 1)
    groups = ops.nms_match(dets.float(), 0.2)
    expected = slow.nms_match(dets.numpy(), 0.2)
    assert [group.tolist() for group in groups] == expected


# Inside, across the edges, beyond, without area, and reversed.
ROIS = torch.tensor(
    [
        [0, 1.3, 2.1, 7.2, 8.4],
        [1, -4, -3, 3.6, 5.5],
        [1, 5.1, 4.2, 30, 21],
        [0, 40, 40, 50, 50],
        [0, 3.2, 3.2, 3.2, 3.2],
    ]
).double()
BACKWARDS = torch.tensor([[1, 6.0, 5.0, 2.0, 1.0]]).double()


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize(
    ('size', 'scale', 'sampling_ratio'),
    [((3, 2), 1.0, 0), ((2, 4), 0.55, 2), ((1, 1), 0.25, 3)],
)
def test_roi_align(size, scale, sampling_ratio, mode, aligned):
    input = normal(2, 2, 7, 9)
    settings = (size, scale, sampling_ratio, mode, aligned)

    def align(input, rois=ROIS):
        return ops.roi_align(input, rois, *settings)

    expected = slow.roi_align(slow.array(input), ROIS.numpy(), *settings)
    equal(align(input), expected)
    assert gradcheck(align, input)
    assert align(input, ROIS[:0]).shape == (0, 2, *size)
    if not aligned:
        expected = slow.roi_align(
            slow.array(input), BACKWARDS.numpy(), *settings
        )
        equal(align(input, BACKWARDS), expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align_in_half_precision(mode, dtype):
    """Rounded once, at the end."""
    input = normal(2, 3, 7, 9).detach().to(dtype).requires_grad_()
    rois = ROIS[:3].to(dtype)
    output = ops.roi_align(input, rois, (3, 2), 1.0, 2, mode)
    reference = ops.roi_align(
        input.float(), rois.float(), (3, 2), 1.0, 2, mode
    )
    assert output.dtype == dtype
    assert torch.equal(output, reference.to(dtype))
    output.sum().backward()
    assert input.grad.dtype == dtype


@pytest.mark.parametrize(
    ('size', 'scale'), [((3, 2), 1.0), ((2, 4), 0.55), ((7, 7), 0.25)]
)
def test_roi_pool(size, scale):
    input = normal(2, 2, 7, 9)
    rois = torch.cat((ROIS, BACKWARDS))

    def pool(input, rois=rois):
        return ops.roi_pool(input, rois, size, scale)

    expected = slow.roi_pool(slow.array(input), rois.numpy(), size, scale)
    equal(pool(input), expected)
    assert gradcheck(pool, input)
    assert pool(input, rois[:0]).shape == (0, 2, *size)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize(('gamma', 'alpha'), [(2.0, 0.25), (0.0, 0.5)])
def test_sigmoid_focal_loss(gamma, alpha, weighted):
    logits = normal(5, 3)
    target = torch.tensor([0, 2, 3, 1, 3])  # 3 is the background
    weight = uniform(3).detach() if weighted else None
    settings = (gamma, alpha, weight)

    def loss(logits, reduction='none'):
        return ops.sigmoid_focal_loss(logits, target, *settings, reduction)

    expected = slow.sigmoid_focal_loss(
        slow.array(logits), target.numpy(), weight, gamma, alpha
    )
    equal(loss(logits), expected)
    equal(loss(logits, 'mean'), expected.sum() / 5)
    assert gradcheck(loss, logits)
    assert gradcheck(lambda logits: loss(logits, 'mean'), logits)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize(('gamma', 'alpha'), [(2.0, 0.25), (0.0, 1.0)])
def test_softmax_focal_loss(gamma, alpha, weighted):
    logits = normal(4, 3)
    target = torch.tensor([0, 2, -1, 1])  # -1 is ignored
    weight = uniform(3).detach() if weighted else None
    settings = (gamma, alpha, weight)

    def loss(logits, reduction='sum'):
        return ops.softmax_focal_loss(logits, target, *settings, reduction)

    expected = slow.softmax_focal_loss(
        slow.array(logits), target.numpy(), weight, gamma, alpha
    )
    equal(loss(logits, 'none'), expected)
    equal(loss(logits, 'mean'), expected.sum() / 4)
    assert gradcheck(loss, logits)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('loss', ['sigmoid', 'softmax'])
def test_focal_losses_of_certain_answers_are_finite(loss, gamma):
    for sign in (-1, 1):
        logits = torch.tensor([[sign * 500.0, -sign * 500]]).requires_grad_()
        function = getattr(ops, f'{loss}_focal_loss')
        value = function(logits, torch.tensor([0]), gamma, 0.25, None, 'sum')
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize('loss', ['sigmoid', 'softmax'])
def test_focal_losses_of_nothing(loss):
    logits = torch.zeros(0, 3, requires_grad=True)
    function = getattr(ops, f'{loss}_focal_loss')
    function(logits, torch.zeros(0).long(), 2.0, 0.25, None, 'sum').backward()
    assert logits.grad.shape == (0, 3)


CONVOLUTIONS = [
    dict(padding=1),
    dict(stride=2, padding=2, dilation=2, deform_groups=2),
    dict(padding=1, groups=2, deform_groups=4),
    dict(groups=4, dilation=2, padding=1),
]


def geometry(settings):
    """The settings of a convolution, in mmcv's order."""
    defaults = dict(stride=1, padding=0, dilation=1, groups=1, deform_groups=1)
    return {**defaults, **settings}.values()


def convolution(settings, size=(5, 4), kernel=(3, 2), samples=2):
    """Input, offset, weight, mask and bias of a convolution."""
    stride, padding, dilation, groups, deform_groups = geometry(settings)
    height, width = (
        (side + 2 * padding - dilation * (k - 1) - 1) // stride + 1
        for side, k in zip(size, kernel)
    )
    elements = deform_groups * kernel[0] * kernel[1]
    return (
        normal(samples, 4, *size),
        normal(samples, 2 * elements, height, width),
        normal(8, 4 // groups, *kernel),
        uniform(samples, elements, height, width),
        normal(8),
    )


@pytest.mark.parametrize('settings', CONVOLUTIONS)
def test_deform_conv(settings):
    input, offset, weight, *_ = convolution(settings)

    def convolve(*tensors):
        return ops.deform_conv2d(*tensors, *geometry(settings))

    tensors = input, offset, weight
    expected = slow.deform_conv(*map(slow.array, tensors), **settings)
    equal(convolve(*tensors), expected)
    assert gradcheck(convolve, tensors, fast_mode=True)
    # The gradient of some of them alone.
    for part in ((0, 1), (2,), (1, 2)):
        chosen = [
            tensor if i in part else tensor.detach()
            for i, tensor in enumerate(tensors)
        ]
        assert gradcheck(convolve, chosen, fast_mode=True)


def test_deform_conv_twice_backward():
    """Gradients are of this call: what one leaves the next does not find."""
    layer = ops.DeformConv2d(4, 8, 3, padding=1).double()
    input, offset = normal(2, 4, 5, 5), normal(2, 18, 5, 5)
    output = layer(input, offset)
    output.sum().backward(retain_graph=True)
    once = layer.weight.grad.clone()
    output.sum().mul(3).backward()
    torch.testing.assert_close(layer.weight.grad, 4 * once)


def test_deform_conv_step():
    """im2col_step has to divide the batch, and changes nothing else."""
    tensors = convolution(dict(padding=1), samples=4)[:3]
    outputs = [
        ops.deform_conv2d(*tensors, 1, 1, 1, 1, 1, False, step)
        for step in (1, 2, 4)
    ]
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_deform_conv_pads_small_inputs():
    layer = ops.DeformConv2dPack(2, 3, 5, padding=2)
    assert layer(torch.rand(1, 2, 3, 3)).shape == (1, 3, 3, 3)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -1e20])
def test_deform_conv_of_offsets_that_are_no_positions(value):
    """As after a step that was too large: zeros, and no crash."""
    input, offset, weight, mask, _ = convolution(dict(padding=1))
    offset.detach()[0, :, 2, 1] = value
    output = ops.deform_conv2d(input, offset, weight, 1, 1)
    assert not output[0, :, 2, 1].any()
    assert output[1].all()
    output.sum().backward()
    output = ops.modulated_deform_conv2d(
        input, offset, mask, weight, None, 1, 1
    )
    output.sum().backward()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize('settings', CONVOLUTIONS)
def test_modulated_deform_conv(settings, with_bias):
    input, offset, weight, mask, bias = convolution(settings)
    tensors = [input, offset, mask, weight] + [bias] * with_bias

    def convolve(input, offset, mask, weight, bias=None):
        return ops.modulated_deform_conv2d(
            *(input, offset, mask, weight, bias), *geometry(settings)
        )

    expected = slow.deform_conv(
        *map(slow.array, (input, offset, weight, mask)),
        slow.array(bias) if with_bias else None,
        **settings,
    )
    equal(convolve(*tensors), expected)
    assert gradcheck(convolve, tensors, fast_mode=True)


def test_modulated_deform_conv_with_offsets_of_a_larger_map():
    """mmdet's DyHead relies on what mmcv makes of them, by their memory."""
    input, _, weight, *_ = convolution(dict(padding=1), size=(2, 3))
    height, width = 2, 4
    offset, mask = normal(2, 12, 4, 8), uniform(2, 6, 4, 8)

    def convolve(input, offset, mask, weight):
        return ops.modulated_deform_conv2d(
            input, offset, mask, weight, None, 1, 1
        )

    small = [
        slow.array(tensor).reshape(2, -1)[:, : channels * height * width]
        for tensor, channels in ((offset, 12), (mask, 6))
    ]
    small = [part.reshape(2, -1, height, width) for part in small]
    expected = slow.deform_conv(
        slow.array(input), small[0], slow.array(weight), small[1], padding=1
    )
    tensors = input, offset, mask, weight
    equal(convolve(*tensors), expected)
    assert gradcheck(convolve, tensors, fast_mode=True)


@pytest.mark.parametrize('kind', ['DCN', 'DCNv2'])
def test_deform_conv_under_autocast(kind):
    """Layers of float32 weights, offsets and inputs of bfloat16."""
    from mmcv.cnn import build_conv_layer

    layer = build_conv_layer(dict(type=kind), 4, 8, 3, padding=1)
    input = torch.rand(2, 4, 5, 5)
    with torch.autocast('cpu', torch.bfloat16):
        output = layer(input)
    output.float().sum().backward()
    torch.testing.assert_close(
        output.float(), layer(input), rtol=0.05, atol=0.05
    )
    assert layer.weight.grad.isfinite().all()


@pytest.mark.parametrize('shapes', [[(3, 4)], [(4, 3), (2, 2), (1, 5)]])
def test_multi_scale_deform_attn(shapes):
    from mmcv.ops.multi_scale_deform_attn import (
        MultiScaleDeformableAttnFunction,
    )

    levels, sizes = len(shapes), torch.tensor(shapes)
    value = normal(2, int(sizes.prod(1).sum()), 2, 3)
    # Outside as well.
    locations = (uniform(2, 4, 2, levels, 3, 2) * 1.4 - 0.2).detach()
    locations.requires_grad_()
    weights = uniform(2, 4, 2, levels, 3)
    starts = sizes.prod(1).cumsum(0) - sizes.prod(1)

    def attend(value, locations, weights):
        return MultiScaleDeformableAttnFunction.apply(
            value, sizes, starts, locations, weights, 64
        )

    tensors = value, locations, weights
    expected = slow.multi_scale_deform_attn(
        slow.array(value), shapes, slow.array(locations), slow.array(weights)
    )
    equal(attend(*tensors), expected)
    assert gradcheck(attend, tensors)


@pytest.mark.parametrize('function', ['carafe', 'carafe_naive'])
@pytest.mark.parametrize('settings', [(3, 1, 2), (5, 2, 3), (1, 4, 1)])
def test_carafe(settings, function, monkeypatch):
    kernel_size, groups, scale = settings
    features = normal(2, 4, 3, 2)
    masks = normal(2, groups * kernel_size**2, 3 * scale, 2 * scale)

    def reassemble(features, masks):
        return getattr(ops, function)(features, masks, *settings)

    expected = slow.carafe(slow.array(features), slow.array(masks), *settings)
    equal(reassemble(features, masks), expected)
    if function == 'carafe':  # the gradient of the other asserts a GPU
        assert gradcheck(reassemble, (features, masks), fast_mode=True)


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize('size', [(3, 3), (5, 1), (9, 7)])
def test_psa_mask(size, kind):
    input = normal(2, size[0] * size[1], 4, 3)
    mask = ops.PSAMask(kind, size)
    equal(mask(input), slow.psa_mask(slow.array(input), kind, size))
    assert gradcheck(mask, input, fast_mode=True)


def test_masked_conv():
    """The convolution where the mask is set, and zero elsewhere."""
    layer = ops.MaskedConv2d(3, 4, (3, 5), padding=(1, 2)).double()
    input, mask = normal(1, 3, 6, 5), torch.rand(1, 6, 5) > 0.5
    expected = torch.nn.Conv2d.forward(layer, input) * mask
    with torch.no_grad():
        equal(layer(input, mask), slow.array(expected))
        assert not layer(input, torch.zeros(1, 6, 5)).any()
