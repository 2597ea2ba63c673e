# Copyright (c) mmactive contributors. All rights reserved.
"""The operators as their definitions read: loops over float64 numbers."""

from itertools import product
from math import ceil, exp, floor, log

import numpy as np


def array(tensor):
    return tensor.detach().double().numpy()


def iou(a, b, offset=0):
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    both = max(width, 0) * max(height, 0)
    areas = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
    return both / (sum(areas) - both)


def nms(boxes, scores, threshold, offset=0):
    kept = []
    for i in np.argsort(-scores):
        if all(iou(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


def soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    left, results = dict(enumerate(scores)), []
    while left:
        best = max(left, key=left.get)
        results.append((best, left.pop(best)))
        for i in list(left):
            overlap = iou(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                left[i] *= exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                left[i] *= 1 - overlap if method == 'linear' else 0
            if left[i] < min_score:
                del left[i]
    return results


def nms_match(dets, threshold):
    left, groups = list(np.argsort(-dets[:, 4])), []
    while left:
        best = left[0]
        group = [i for i in left if iou(dets[best], dets[i]) >= threshold]
        groups.append([best, *(i for i in group if i != best)])
        left = [i for i in left if i not in groups[-1]]
    return groups


def bilinear(image, y, x, beyond):
    """Samples (..., H, W); coordinates are of the centres of pixels.

    Beyond the centres at the edge there are zeros, or the edge is repeated for
    one pixel.
    """
    height, width = image.shape[-2:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(image.shape[:-2])
    if beyond == 'edge':
        y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    value = 0
    corners = (floor(y), floor(y) + 1), (floor(x), floor(x) + 1)
    for row, column in product(*corners):
        if 0 <= row < height and 0 <= column < width:
            weight = (1 - abs(y - row)) * (1 - abs(x - column))
            value = value + weight * image[..., row, column]
    return value + np.zeros(image.shape[:-2])


def roi_align(input, rois, size, scale, sampling_ratio, mode, aligned):
    output = np.zeros((len(rois), input.shape[1], *size))
    for k, (sample, *box) in enumerate(rois):
        x1, y1, x2, y2 = (c * scale - 0.5 * aligned for c in box)
        height, width = y2 - y1, x2 - x1
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        height, width = height / size[0], width / size[1]
        rows = sampling_ratio or ceil(height)
        columns = sampling_ratio or ceil(width)
        for i, j in product(range(size[0]), range(size[1])):
            values = [
                bilinear(
                    input[int(sample)],
                    y1 + (i + (row + 0.5) / rows) * height,
                    x1 + (j + (column + 0.5) / columns) * width,
                    'edge',
                )
                for row, column in product(range(rows), range(columns))
            ]
            if values:
                reduce = np.max if mode == 'max' else np.mean
                output[k, :, i, j] = reduce(values, axis=0)
    return output


def roi_pool(input, rois, size, scale):
    output = np.zeros((len(rois), input.shape[1], *size))
    for k, (sample, x1, y1, x2, y2) in enumerate(rois):
        x1, y1, x2, y2 = (c * scale for c in (x1, y1, x2 + 1, y2 + 1))
        if x2 <= x1 or y2 <= y1:
            continue
        height, width = (y2 - y1) / size[0], (x2 - x1) / size[1]
        for i, j in product(range(size[0]), range(size[1])):
            top, bottom = floor(y1 + i * height), ceil(y1 + (i + 1) * height)
            left, right = floor(x1 + j * width), ceil(x1 + (j + 1) * width)
            part = input[int(sample)][
                :, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)
            ]
            if part.size:
                output[k, :, i, j] = part.max(axis=(1, 2))
    return output


def sigmoid_focal_loss(logits, target, weight, gamma, alpha):
    loss = np.zeros_like(logits)
    for n, c in product(*map(range, logits.shape)):
        p = 1 / (1 + exp(-logits[n, c]))
        if target[n] == c:
            loss[n, c] = -alpha * (1 - p) ** gamma * log(p)
        else:
            loss[n, c] = -(1 - alpha) * p**gamma * log(1 - p)
        if weight is not None and target[n] < len(weight):
            loss[n, c] *= weight[target[n]]
    return loss


def softmax_focal_loss(logits, target, weight, gamma, alpha):
    loss = np.zeros(len(logits))
    for n, (row, t) in enumerate(zip(logits, target)):
        if t >= 0:
            p = exp(row[t]) / sum(map(exp, row))
            loss[n] = -alpha * (1 - p) ** gamma * log(p)
            loss[n] *= 1 if weight is None else weight[t]
    return loss


def deform_conv(
    input,
    offset,
    weight,
    mask=None,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    deform_groups=1,
):
    samples, channels = input.shape[:2]
    kernel = weight.shape[2:]
    height, width = offset.shape[2:]
    output = np.zeros((samples, len(weight), height, width))
    if bias is not None:
        output += bias[:, None, None]
    offset = offset.reshape(samples, deform_groups, *kernel, 2, height, width)
    if mask is None:
        mask = np.ones((samples, deform_groups, *kernel, height, width))
    mask = mask.reshape(samples, deform_groups, *kernel, height, width)
    for n, c, i, j, y, x in product(
        *map(range, (samples, channels, *kernel, height, width))
    ):
        group = c * deform_groups // channels
        dy, dx = offset[n, group, i, j, :, y, x]
        value = mask[n, group, i, j, y, x] * bilinear(
            input[n, c],
            y * stride - padding + i * dilation + dy,
            x * stride - padding + j * dilation + dx,
            'zeros',
        )
        first = c * groups // channels * (len(weight) // groups)
        of_group = slice(first, first + len(weight) // groups)
        within = c % (channels // groups)
        output[n, of_group, y, x] += value * weight[of_group, within, i, j]
    return output


def multi_scale_deform_attn(value, shapes, locations, weights):
    samples, queries, heads = weights.shape[:3]
    output = np.zeros((samples, queries, heads, value.shape[-1]))
    starts = np.cumsum([0, *(h * w for h, w in shapes)])
    for n, q, head, level, point in product(*map(range, weights.shape)):
        h, w = shapes[level]
        image = value[n, starts[level] : starts[level + 1], head].T
        x, y = locations[n, q, head, level, point]
        output[n, q, head] += weights[n, q, head, level, point] * bilinear(
            image.reshape(-1, h, w), y * h - 0.5, x * w - 0.5, 'zeros'
        )
    return output.reshape(samples, queries, -1)


def carafe(features, masks, kernel_size, groups, scale):
    samples, channels, height, width = features.shape
    output = np.zeros((samples, channels, height * scale, width * scale))
    masks = masks.reshape(
        samples, groups, kernel_size, kernel_size, *output.shape[2:]
    )
    for n, c, y, x, i, j in product(
        *map(range, (*output.shape, kernel_size, kernel_size))
    ):
        row = y // scale + i - kernel_size // 2
        column = x // scale + j - kernel_size // 2
        if 0 <= row < height and 0 <= column < width:
            weight = masks[n, c * groups // channels, i, j, y, x]
            output[n, c, y, x] += weight * features[n, c, row, column]
    return output


def psa_mask(masks, kind, size):
    samples, _, height, width = masks.shape
    output = np.zeros((samples, height, width, height, width))
    masks = masks.reshape(samples, *size, height, width)
    for n, y, x, i, j in product(
        *map(range, (samples, height, width, height, width))
    ):
        row, column = i - y + (size[0] - 1) // 2, j - x + (size[1] - 1) // 2
        if 0 <= row < size[0] and 0 <= column < size[1]:
            value = masks[n, row, column, y, x]
            if kind == 'distribute':
                output[n, y, x, i, j] = value
            else:
                output[n, i, j, y, x] = value
    return output.reshape(samples, -1, height, width)
