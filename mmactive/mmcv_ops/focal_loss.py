# Copyright (c) mmactive contributors. All rights reserved.
"""Focal loss (https://arxiv.org/abs/1708.02002, equation 5)."""

from typing import Tuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .common import promote


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Computes the loss of independent classes.

    Args:
        input (Tensor): Logits (N, C).
        target (Tensor): Classes (N,), int64; C for the background.
        weight (Tensor): Weights (C,) by the class of the target, or empty.
        output (Tensor): (N, C), to be filled.
        gamma (float): Exponent of the modulating factor.
        alpha (float): Weight of the target's class; 1 - alpha is the others'.
    """
    x, sign, factor = split(input, target, weight, alpha)
    loss = -torch.sigmoid(-sign * x).pow(gamma) * logsigmoid(sign * x)
    output.copy_(factor * loss)


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Fills grad_input; arguments as in the forward function."""
    x, sign, factor = split(input, target, weight, alpha)
    p, q = torch.sigmoid(sign * x), torch.sigmoid(-sign * x)
    slope = q.pow(gamma) * (gamma * p * logsigmoid(sign * x) - q)
    grad_input.copy_(factor * sign * slope)


def softmax_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Computes the loss of classes that exclude each other.

    Args:
        input (Tensor): Probabilities (N, C), of the softmax.
        target (Tensor): Classes (N,), int64; ignored where negative.
        weight (Tensor): Weights (C,) by the class of the target, or empty.
        output (Tensor): (N,), to be filled.
        gamma (float): Exponent of the modulating factor.
        alpha (float): Factor of the loss.
    """
    _, p, factor = gather(input, target, weight, alpha)
    output.copy_(-factor * (1 - p).pow(gamma) * log(p))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Fills grad_input, the gradient of the logits.

    Arguments are those of the forward function, and buff (N,), which is filled
    with the factors that the targets have in common.
    """
    probabilities, p, factor = gather(input, target, weight, alpha)
    # 1 - p is not 0 here, lest its powers below 0 are infinite.
    q = (1 - p).clamp(min=torch.finfo(p.dtype).tiny)
    buff.copy_(factor * (gamma * p * q.pow(gamma - 1) * log(p) - q.pow(gamma)))
    grad_input.copy_(
        buff[:, None] * (is_target(input, target).to(p) - probabilities)
    )


def is_target(input: Tensor, target: Tensor) -> Tensor:
    """Tells of each class (N, C) whether it is the target."""
    classes = torch.arange(input.shape[1], device=input.device)
    return target[:, None] == classes


def split(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> Tuple[Tensor, Tensor, Tensor]:
    """Takes each class as a problem of its own: is it the target?

    Returns:
        tuple[Tensor, Tensor, Tensor]: Logits, the sign that makes them logits
        of the right answer, and the factors of their losses; all (N, C).
    """
    x, weight = promote(input, weight)
    positive = is_target(x, target)
    factor = torch.full_like(x, 1 - alpha).masked_fill_(positive, alpha)
    if weight.numel():
        # The background, C, has no weight of its own.
        factor *= torch.cat((weight, weight.new_ones(1)))[target][:, None]
    return x, torch.where(positive, 1, -1), factor


def gather(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> Tuple[Tensor, Tensor, Tensor]:
    """Looks up what belongs to the targets.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Probabilities (N, C) and, of the
        targets, probabilities (N,) and factors of the loss (N,).
    """
    probabilities, weight = promote(input, weight)
    index = target.clamp(min=0)
    p = probabilities.gather(1, index[:, None])[:, 0]
    factor = (target >= 0).to(p) * alpha
    if weight.numel():
        factor *= weight[index]
    return probabilities, p, factor


def log(p: Tensor) -> Tensor:
    """Returns the logarithm, finite for 0."""
    return p.clamp(min=torch.finfo(p.dtype).tiny).log()
