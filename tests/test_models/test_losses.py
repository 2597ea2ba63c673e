# Copyright (c) mmactive contributors. All rights reserved.
import pytest
import torch
from mmseg.models.losses import CrossEntropyLoss as MMSegCrossEntropyLoss
from torch.nn import functional as F

from mmactive.models.losses import CrossEntropyLoss

WEIGHTS = [0.4, 1.0, 2.0]


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(2, 3, 5, 7, generator=generator)
    label = torch.randint(0, 3, (2, 5, 7), generator=generator)
    return score.requires_grad_(), label


def loss_and_gradient(loss, score, *args, **kwargs):
    value = loss(score, *args, **kwargs)
    return value, torch.autograd.grad(value.sum(), score)[0]


@pytest.mark.parametrize('average', [False, True])
@pytest.mark.parametrize(
    'kwargs',
    [
        dict(class_weight=WEIGHTS),
        dict(class_weight=WEIGHTS, loss_weight=0.4),
        dict(class_weight=WEIGHTS, reduction='sum'),
        dict(),
    ],
)
def test_it_is_that_of_mmseg_where_no_pixel_is_ignored(
    kwargs, average, sample
):
    score, label = sample
    losses = [
        loss_and_gradient(loss, score, label, ignore_index=255)
        for loss in (
            CrossEntropyLoss(avg_non_ignore=average, **kwargs),
            # The fork's own fails on weights with avg_non_ignore.
            MMSegCrossEntropyLoss(**kwargs),
        )
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)


def test_ignored_pixels(sample):
    """Compared with PyTorch's weighted mean; mmseg's own fails.

    Its fork's does so with `avg_non_ignore` alone.
    """
    score, label = sample
    label[0, :2] = 255
    reference = loss_and_gradient(
        F.cross_entropy,
        score,
        label,
        weight=torch.tensor(WEIGHTS),
        ignore_index=255,
    )
    for average in (False, True):
        kwargs = dict(class_weight=WEIGHTS, avg_non_ignore=average)
        result = loss_and_gradient(
            CrossEntropyLoss(**kwargs), score, label, ignore_index=255
        )
        torch.testing.assert_close(result, reference)
    with pytest.raises(IndexError):
        MMSegCrossEntropyLoss(**kwargs)(score, label, ignore_index=255)
    label[:] = 255
    value, gradient = loss_and_gradient(
        CrossEntropyLoss(class_weight=WEIGHTS),
        score,
        label,
        ignore_index=255,
    )
    assert value == 0
    assert not gradient.any()


def test_weights_of_pixels(sample):
    score, label = sample
    label[1] = 255
    loss = CrossEntropyLoss(class_weight=WEIGHTS)
    first = loss(score, label, ignore_index=255)
    twice = loss(score, label, torch.full(label.shape, 2.0), ignore_index=255)
    torch.testing.assert_close(twice, 2 * first)
