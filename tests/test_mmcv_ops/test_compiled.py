# Copyright (c) mmactive contributors. All rights reserved.
"""The supplied operators beside mmcv's, where those are compiled.

On the CPU, with what mmcv has kernels for there.
"""

import importlib
import importlib.util

import pytest
import torch

pytest.importorskip('mmcv')
extension = pytest.importorskip('mmactive.mmcv_ops.extension')

compiled = importlib.util.find_spec('mmcv._ext')
if compiled.origin == extension.__file__:
    pytest.skip('mmcv is not compiled', allow_module_level=True)

from mmcv import ops  # noqa: E402


@pytest.fixture
def compare(monkeypatch):
    """Compares what a function returns with either, from the same seed."""

    def compare(module, function, **tolerance):
        torch.manual_seed(0)
        expected = function()
        module = importlib.import_module(f'mmcv.ops.{module}')
        assert module.ext_module.__file__ != extension.__file__
        with monkeypatch.context() as patch:
            patch.setattr(module, 'ext_module', extension)
            torch.manual_seed(0)
            result = function()
        torch.testing.assert_close(result, expected, **tolerance)

    return compare


def values_and_gradients(function, *tensors):
    tensors = [tensor.requires_grad_() for tensor in tensors]
    output = function(*tensors)
    weight = torch.randn_like(output)
    return output.detach(), *torch.autograd.grad(output, tensors, weight)


def random_boxes(count):
    starts, sides = torch.rand(2, count, 2)
    return torch.cat((starts * 100, starts * 100 + 10 + sides * 60), 1)


@pytest.mark.parametrize('offset', [0, 1])
def test_nms(compare, offset):
    def suppress():
        return ops.nms(random_boxes(500), torch.rand(500), 0.5, offset)

    compare('nms', suppress)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(compare, method, offset):
    def suppress():
        boxes, scores = random_boxes(500), torch.rand(500)
        return ops.soft_nms(boxes, scores, 0.3, 0.5, 0.05, method, offset)

    compare('nms', suppress)


def test_nms_match(compare):
    def match():
        dets = torch.cat((random_boxes(100), torch.rand(100, 1)), 1)
        return ops.nms_match(dets, 0.3)

    compare('nms', match)


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align(compare, sampling_ratio, mode, aligned):
    def align():
        index = torch.randint(2, (30, 1))
        rois = torch.cat((index, random_boxes(30)), 1).double()
        return values_and_gradients(
            lambda input: ops.roi_align(
                input, rois, (7, 5), 0.25, sampling_ratio, mode, aligned
            ),
            torch.randn(2, 3, 30, 40, dtype=torch.float64),
        )

    compare('roi_align', align)


@pytest.mark.parametrize(
    ('padding', 'dilation', 'groups', 'deform_groups'),
    [(1, 1, 1, 1), (2, 2, 2, 4), (1, 1, 4, 2)],
)
@pytest.mark.parametrize('modulated', [False, True])
def test_deform_conv(
    compare, modulated, padding, dilation, groups, deform_groups
):
    geometry = (1, padding, dilation, groups, deform_groups)

    def convolve():
        tensors = [
            torch.randn(2, 8, 9, 9),
            torch.randn(2, deform_groups * 18, 9, 9),
            torch.rand(2, deform_groups * 9, 9, 9),
            torch.randn(4, 8 // groups, 3, 3),
            torch.randn(4),
        ]
        if modulated:
            function = ops.modulated_deform_conv2d
        else:
            function = ops.deform_conv2d
            tensors = [tensors[index] for index in (0, 1, 3)]
        return values_and_gradients(
            lambda *tensors: function(*tensors, *geometry), *tensors
        )

    module = 'modulated_deform_conv' if modulated else 'deform_conv'
    compare(module, convolve, rtol=1e-4, atol=1e-4)


def test_modulated_deform_conv_with_offsets_of_a_larger_map(compare):
    def convolve():
        return values_and_gradients(
            lambda *tensors: ops.modulated_deform_conv2d(*tensors, None, 1, 1),
            torch.randn(2, 8, 4, 5),
            torch.randn(2, 18, 8, 10),
            torch.rand(2, 9, 8, 10),
            torch.randn(4, 8, 3, 3),
        )

    compare('modulated_deform_conv', convolve, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
def test_psa_mask(compare, kind):
    compare(
        'psa_mask',
        lambda: values_and_gradients(
            ops.PSAMask(kind, (5, 7)), torch.randn(2, 35, 4, 6)
        ),
    )
