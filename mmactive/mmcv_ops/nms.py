# Copyright (c) mmactive contributors. All rights reserved.
"""Non-maximum suppression."""

from typing import List

import torch
from torch import Tensor
from torchvision.ops import box_iou
from torchvision.ops import nms as torchvision_nms

from .common import promote


def extend(boxes: Tensor, offset: int) -> Tensor:
    """Moves the ends of boxes, so that their sides are longer by the offset.

    With 1 the coordinates are those of the first and the last pixel. All
    sides, those of the intersections included, are longer then.
    """
    return boxes + boxes.new_tensor((0, 0, offset, offset))


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int
) -> Tensor:
    """Keeps the boxes that overlap none of higher score too much.

    Args:
        boxes (Tensor): (N, 4), of x1, y1, x2, y2.
        scores (Tensor): (N,).
        iou_threshold (float): Boxes of a larger intersection over union with
            one that is kept are dropped.
        offset (int): 1 if x2 and y2 are the last pixel, 0 if they are the end.

    Returns:
        Tensor: Indices of the boxes kept, int64, by descending score.
    """
    boxes, scores = promote(boxes, scores)
    return torchvision_nms(extend(boxes, offset), scores, iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lowers the scores of boxes that overlap one of higher score.

    After `Soft-NMS <https://arxiv.org/abs/1704.04503>`_.

    Args:
        boxes (Tensor): (N, 4), of x1, y1, x2, y2, on the CPU.
        scores (Tensor): (N,).
        dets (Tensor): (N, 5), filled with the M boxes that are left and their
            new scores, in descending order.
        iou_threshold (float): Intersection over union from which scores are
            lowered, for methods 0 and 1.
        sigma (float): Variance of method 2.
        min_score (float): Boxes whose score falls below it are dropped.
        method (int): Factor of the score: 0: 0; 1: 1 - IoU; 2:
            exp(-IoU^2 / sigma).
        offset (int): As in :func:`nms`.

    Returns:
        Tensor: Indices of the boxes left, int64, (M,).
    """
    starts, ends = boxes[:, :2], extend(boxes, offset)[:, 2:]
    areas = (ends - starts).prod(1)
    left, scores = torch.arange(len(boxes)), scores.clone()
    kept: List[Tensor] = []
    while len(left):
        position = scores[left].argmax()
        best = left[position]
        dets[len(kept), :4], dets[len(kept), 4] = boxes[best], scores[best]
        kept.append(best)
        left = torch.cat((left[:position], left[position + 1 :]))
        sides = torch.minimum(ends[best], ends[left]) - torch.maximum(
            starts[best], starts[left]
        )
        intersection = sides.clamp(min=0).prod(1)
        iou = intersection / (areas[best] + areas[left] - intersection)
        if method == 2:
            factor = torch.exp(-iou.square() / sigma)
        else:
            lowered = 1 - iou if method == 1 else torch.zeros_like(iou)
            factor = torch.where(iou >= iou_threshold, lowered, 1)
        scores[left] *= factor
        left = left[~(scores[left] < min_score)]
    return torch.stack(kept) if kept else left


def nms_match(dets: Tensor, iou_threshold: float) -> List[List[int]]:
    """Groups boxes with the one of higher score that suppresses them.

    Args:
        dets (Tensor): (N, 5), of x1, y1, x2, y2 and score, on the CPU.
        iou_threshold (float): Boxes of at least this intersection over union
            are suppressed.

    Returns:
        list[list[int]]: Groups of indices, by descending score, and so are
        the indices of each.
    """
    (dets,) = promote(dets)
    suppresses = box_iou(dets[:, :4], dets[:, :4]) >= iou_threshold
    left, groups = dets[:, 4].argsort(descending=True), []
    while len(left):
        best, others = left[:1], left[1:]
        suppressed = suppresses[best, others]
        groups.append(torch.cat((best, others[suppressed])).tolist())
        left = others[~suppressed]
    return groups
