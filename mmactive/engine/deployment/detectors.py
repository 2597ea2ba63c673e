# Copyright (c) mmactive contributors. All rights reserved.
"""The inference of mmdet's detectors as a graph without branches.

mmdet selects boxes image by image, and how many there are depends on the
image. Here every selection has a fixed number of places, and those that are
left over have a score of -1: so all images of a batch go through one graph,
and it is the same one for every image. The results are those of ``predict``.
"""

from typing import Dict, List, NamedTuple, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import RetinaHead, RPNHead
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.coders.delta_xywh_bbox_coder import delta2bbox
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from .models import Exportable

# The score of a place without a box; real ones are at least 0.
EMPTY = -1.0


class Boxes(NamedTuple):
    """Boxes of a batch, K places for each image.

    Attributes:
        boxes (Tensor): (N, K, 4), of x1, y1, x2, y2 in pixels.
        scores (Tensor): (N, K), descending, :data:`EMPTY` where none is.
        labels (Tensor): (N, K), int64, classes or levels of a pyramid.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class _KeepBest(torch.autograd.Function):
    """:func:`keep_best` as one operator of ONNX."""

    @staticmethod
    def forward(ctx, boxes, scores, iou_threshold, max_num):
        return _keep_best(boxes, scores, iou_threshold)

    @staticmethod
    def symbolic(g, boxes, scores, iou_threshold, max_num):
        def constant(value, dtype):
            return g.op('Constant', value_t=torch.tensor(value, dtype=dtype))

        one = constant([1], torch.int64)
        selected = g.op(
            'NonMaxSuppression',
            boxes,
            g.op('Unsqueeze', scores, one),
            constant([max_num], torch.int64),
            constant([iou_threshold], torch.float32),
            constant([EMPTY / 2], torch.float32),
        )
        # Of rows (image, class, box), of which the class is always 0.
        columns = constant([0, 2], torch.int64)
        places = g.op('Gather', selected, columns, axis_i=1)
        count = g.op(
            'Gather', g.op('Shape', places), constant([0], torch.int64)
        )
        ones = g.op('Expand', constant([1.0], torch.float32), count)
        zeros = g.op('Mul', scores, constant(0.0, torch.float32))
        kept = g.op('ScatterND', zeros, places, ones)
        return g.op('Greater', kept, constant(0.5, torch.float32)).setType(
            scores.type().with_dtype(torch.bool)
        )


def _keep_best(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    kept = []
    for image_boxes, image_scores in zip(boxes.unbind(), scores.unbind()):
        filled = (image_scores > EMPTY / 2).nonzero()[:, 0]
        best = nms(image_boxes[filled], image_scores[filled], iou_threshold)
        marks = torch.zeros_like(image_scores)
        kept.append(marks.index_fill(0, filled[best], 1.0) > 0)
    return torch.stack(kept)


def keep_best(
    boxes: Tensor, scores: Tensor, iou_threshold: float, max_num: int
) -> Tensor:
    """Finds the boxes that non-maximum suppression keeps.

    Args:
        boxes (Tensor): (N, K, 4), of x1, y1, x2, y2.
        scores (Tensor): (N, K); places with :data:`EMPTY` do not count.
        iou_threshold (float): Boxes of a larger intersection over union with
            one that is kept are dropped.
        max_num (int): How many of an image are needed.

    Returns:
        Tensor: (N, K), bool. At least the ``max_num`` best ones are found.
    """
    if torch.onnx.is_in_onnx_export():
        return _KeepBest.apply(boxes, scores, iou_threshold, max_num)
    return _keep_best(boxes, scores, iou_threshold)


def suppress(candidates: Boxes, nms_cfg: dict, max_num: int) -> Boxes:
    """Suppresses boxes that overlap better ones of their label.

    Args:
        candidates (Boxes): The boxes, in any order.
        nms_cfg (dict): As ``mmcv.ops.batched_nms`` takes it.
        max_num (int): How many of an image to keep at most.

    Returns:
        Boxes: The best ones that are left.
    """
    boxes, scores, labels = candidates
    moved = boxes
    if not nms_cfg.get('class_agnostic', False):
        # As mmcv does it, since this rounds: each label has a place of its
        # own in the plane.
        filled = (scores > EMPTY / 2)[..., None]
        largest = boxes.where(filled, 0).amax(dim=(1, 2))[:, None]
        moved = boxes + (labels.to(boxes.dtype) * (largest + 1))[..., None]
    kept = keep_best(moved, scores, nms_cfg['iou_threshold'], max_num)
    scores, index = select(scores.where(kept, EMPTY), max_num)
    return Boxes(take(boxes, index), scores, labels.gather(1, index))


def take(x: Tensor, index: Tensor) -> Tensor:
    """Takes rows (N, K, D) of x (N, M, D) at the index (N, K)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.size(2)))


def select(scores: Tensor, num: int) -> Tuple[Tensor, Tensor]:
    """Selects the best of scores (N, M).

    Returns:
        tuple[Tensor, Tensor]: Scores, descending, and indices, (N, num). An
        empty place has the index 0.
    """
    scores, index = F.pad(scores, (0, num), value=EMPTY).topk(num)
    return scores, index.where(scores > EMPTY / 2, 0)


def clip(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Moves the sides of boxes (..., 4) into an image of (height, width)."""
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(-1)
    x1, x2 = (x.clamp(min=0, max=width) for x in (x1, x2))
    y1, y2 = (y.clamp(min=0, max=height) for y in (y1, y2))
    return torch.stack((x1, y1, x2, y2), dim=-1)


def decode(
    coder: DeltaXYWHBBoxCoder,
    boxes: Tensor,
    deltas: Tensor,
    size: Sequence[int],
) -> Tensor:
    """Moves boxes (..., 4) by deltas of the same shape."""
    decoded = delta2bbox(
        boxes.reshape(-1, 4),
        deltas.reshape(-1, 4),
        coder.means,
        coder.stds,
        None,
        clip_border=False,
        add_ctr_clamp=coder.add_ctr_clamp,
        ctr_clamp=coder.ctr_clamp,
    ).view_as(deltas)
    return clip(decoded, size) if coder.clip_border else decoded


def predict_dense(
    head: nn.Module, features: Tuple[Tensor, ...], size: Sequence[int]
) -> Boxes:
    """Predicts boxes by a head of anchors.

    Args:
        head (nn.Module): A ``RetinaHead`` or ``RPNHead``. The labels of the
            latter are levels of the pyramid, within which it suppresses.
        features (tuple[Tensor]): Maps (N, C, H_i, W_i).
        size (Sequence[int]): Height and width of the images.

    Returns:
        Boxes: The boxes, in as many places as ``max_per_img``.
    """
    cfg = head.test_cfg
    is_rpn = isinstance(head, RPNHead)
    outputs = [layer[: len(features)] for layer in head(features)]
    priors = head.prior_generator.grid_priors(
        [x.shape[2:] for x in outputs[0]],
        dtype=features[0].dtype,
        device=features[0].device,
    )
    levels = []
    for i, (logits, deltas, anchors) in enumerate(zip(*outputs, priors)):
        num_classes = head.cls_out_channels
        logits = logits.permute(0, 2, 3, 1).flatten(1)
        if head.use_sigmoid_cls:
            scores = logits.sigmoid()
        else:
            scores = logits.unflatten(1, (-1, num_classes)).softmax(-1)
            scores = scores[..., :-1].flatten(1)
            num_classes -= 1
        deltas = deltas.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4))
        scores, index = select(scores, cfg.nms_pre)
        labels = torch.full_like(index, i) if is_rpn else index % num_classes
        index = index.div(num_classes, rounding_mode='floor')
        boxes = decode(
            head.bbox_coder, anchors[index], take(deltas, index), size
        )
        levels.append(Boxes(boxes, scores, labels))
    boxes, scores, labels = (torch.cat(parts, 1) for parts in zip(*levels))
    if not is_rpn:
        scores = scores.where(scores > cfg.get('score_thr', 0), EMPTY)
    least = cfg.get('min_bbox_size', -1)
    if least >= 0:
        sides = boxes[..., 2:] - boxes[..., :2]
        scores = scores.where((sides > least).all(-1), EMPTY)
    return suppress(Boxes(boxes, scores, labels), cfg.nms, cfg.max_per_img)


def to_regions(boxes: Tensor) -> Tensor:
    """Puts the numbers of their images before boxes: (N, K, 4) to (N*K, 5)."""
    images = torch.arange(boxes.size(0), device=boxes.device)
    images = images.to(boxes.dtype)[:, None, None]
    images = images.expand(-1, boxes.size(1), 1)
    return torch.cat((images, boxes), dim=-1).flatten(0, 1)


def extract(
    extractor: SingleRoIExtractor,
    features: Tuple[Tensor, ...],
    regions: Tensor,
) -> Tensor:
    """Pools regions (R, 5), each from the level for its size.

    A level sees the regions of other levels without extent, and thus hardly
    spends time on them.
    """
    features = features[: extractor.num_inputs]
    levels = extractor.map_roi_levels(regions, len(features))
    pooled = None
    for i, (layer, x) in enumerate(zip(extractor.roi_layers, features)):
        is_here = levels == i
        here = roi_align(
            x,
            regions.where(is_here[:, None], 0),
            layer.output_size,
            layer.spatial_scale,
            layer.sampling_ratio,
            layer.aligned,
        )
        is_here = is_here[:, None, None, None]
        pooled = here if pooled is None else here.where(is_here, pooled)
    return pooled


def refine(
    head: ConvFCBBoxHead,
    boxes: Tensor,
    logits: Tensor,
    deltas: Tensor,
    size: Sequence[int],
) -> Tensor:
    """Moves the proposals (N, P, 4) of a cascade by the likeliest class."""
    deltas = deltas.unflatten(1, (-1, 4))
    if head.reg_class_agnostic:
        deltas = deltas[:, 0]
    else:
        deltas = take(deltas, logits[:, :-1].argmax(1, keepdim=True))[:, 0]
    return decode(head.bbox_coder, boxes, deltas.view_as(boxes), size)


def classify(
    head: ConvFCBBoxHead,
    proposals: Boxes,
    logits: Tensor,
    deltas: Tensor,
    cfg: ConfigDict,
    size: Sequence[int],
) -> Boxes:
    """Makes objects of proposals, the regions that a head has seen."""
    num_proposals, num_classes = proposals.boxes.size(1), head.num_classes
    scores = logits.softmax(-1)[:, :-1].unflatten(0, (-1, num_proposals))
    deltas = deltas.unflatten(0, (-1, num_proposals)).unflatten(2, (-1, 4))
    boxes = proposals.boxes[:, :, None].expand_as(deltas)
    boxes = decode(head.bbox_coder, boxes, deltas, size)
    boxes = boxes.expand(-1, -1, num_classes, -1).flatten(1, 2)
    is_found = (proposals.scores > EMPTY / 2)[..., None]
    scores = scores.where(is_found & (scores > cfg.score_thr), EMPTY)
    labels = torch.arange(num_classes, device=boxes.device).expand_as(scores)
    return suppress(
        Boxes(boxes, scores.flatten(1), labels.flatten(1)),
        cfg.nms,
        cfg.max_per_img,
    )


def predict_regions(
    head: StandardRoIHead,
    features: Tuple[Tensor, ...],
    proposals: Boxes,
    size: Sequence[int],
) -> Boxes:
    """Predicts the boxes of a two-stage detector, or of a cascade."""
    heads, extractors = head.bbox_head, head.bbox_roi_extractor
    if not isinstance(heads, nn.ModuleList):
        heads, extractors = [heads], [extractors]
    all_logits = []
    for i, (stage, extractor) in enumerate(zip(heads, extractors)):
        regions = to_regions(proposals.boxes)
        logits, deltas = stage(extract(extractor, features, regions))
        all_logits.append(logits)
        if i < len(heads) - 1:
            boxes = refine(stage, proposals.boxes, logits, deltas, size)
            proposals = proposals._replace(boxes=boxes)
    logits = sum(all_logits) / float(len(all_logits))
    return classify(stage, proposals, logits, deltas, head.test_cfg, size)


def predict_masks(
    head: StandardRoIHead,
    features: Tuple[Tensor, ...],
    found: Boxes,
    size: Sequence[int],
) -> Tensor:
    """Predicts the masks (N, K, H, W) of boxes, bool or uint8."""
    heads, extractors = head.mask_head, head.mask_roi_extractor
    if not isinstance(heads, nn.ModuleList):
        heads, extractors = [heads], [extractors]
    regions = to_regions(found.boxes)
    labels = found.labels.flatten()[:, None, None, None]
    masks = []
    for stage, extractor in zip(heads, extractors):
        mask = stage(extract(extractor, features, regions))
        if not stage.class_agnostic:
            index = labels.expand(-1, -1, *mask.shape[2:])
            mask = mask.gather(1, index)
        masks.append(mask[:, 0].sigmoid())
    mask = sum(masks) / float(len(masks))
    pasted = paste(mask, found.boxes.flatten(0, 1), size)
    pasted = pasted.unflatten(0, (-1, found.boxes.size(1)))
    pasted = pasted * (found.scores > EMPTY / 2)[..., None, None]
    threshold = head.test_cfg.mask_thr_binary
    if threshold >= 0:
        return pasted >= threshold
    return (pasted * 255).to(torch.uint8)


def paste(masks: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Puts masks (R, h, w) into the boxes (R, 4) of images (R, H, W).

    Interpolates bilinearly along each axis, as a product of matrices.
    """
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(-1)
    rows = _interpolation(y1, y2, height, masks.size(1))
    columns = _interpolation(x1, x2, width, masks.size(2))
    return rows @ masks @ columns.transpose(1, 2)


def _interpolation(
    start: Tensor, end: Tensor, length: int, num: int
) -> Tensor:
    """Makes weights (R, length, num) of num samples between start and end."""
    pixels = torch.arange(length, device=start.device)
    samples = torch.arange(num, device=start.device)
    start, end = start[:, None], end[:, None]
    # mmdet looks up the middle of a mask without extent, and pastes into a
    # part of the image that is rounded to pixels.
    extent = end - start
    flat = extent == 0
    position = (pixels + 0.5 - start) / extent.where(~flat, 1)
    position = position.where(~flat, 0.5) * num - 0.5
    weights = 1 - (position[..., None] - samples).abs()
    inside = (pixels >= start.floor() - 1) & (pixels < end.ceil() + 1)
    return weights.clamp(min=0) * inside[..., None]


class ExportableDetector(Exportable):
    """The whole inference of a detector.

    Args:
        model (nn.Module): mmdet's RetinaNet, Faster or Mask R-CNN, or Cascade
            (Mask) R-CNN, in eval mode.
        is_normalized (bool): See :class:`Exportable`. Defaults to False.

    Raises:
        ValueError: If the model has another part. The error names it.
    """

    def __init__(self, model: nn.Module, is_normalized: bool = False) -> None:
        super().__init__(model, is_normalized)
        check_detector(model)
        self.output_names = ['boxes', 'scores', 'labels']
        if model.with_mask:
            self.output_names.append('masks')

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Detects objects.

        Args:
            images (Tensor): (N, C, H, W).

        Returns:
            tuple[Tensor]: For the K best objects of an image boxes
            (N, K, 4), x1, y1, x2, y2 in pixels of the image; scores (N, K),
            descending; labels (N, K), int64; and, if the detector predicts
            some, masks (N, K, H, W). Where there are fewer objects, labels
            are -1 and all else is 0.
        """
        size = images.shape[2:]
        features = self.model.extract_feat(self.preprocessing(images))
        if hasattr(self.model, 'bbox_head'):
            found = predict_dense(self.model.bbox_head, features, size)
        else:
            found = predict_dense(self.model.rpn_head, features, size)
            head = self.model.roi_head
            found = predict_regions(head, features, found, size)
        exists = found.scores > EMPTY / 2
        outputs = [
            found.boxes.where(exists[..., None], 0),
            found.scores.where(exists, 0),
            found.labels.where(exists, -1),
        ]
        if 'masks' in self.output_names:
            outputs.append(predict_masks(head, features, found, size))
        return tuple(outputs)

    def predict(self, images: Tensor) -> Dict[str, Tensor]:
        """Predicts, as if each image were the original."""
        self._size = tuple(images.shape[2:])
        return super().predict(images)

    def _predict(self, images: Tensor) -> Dict[str, Tensor]:
        metainfo = dict(
            ori_shape=self._size,
            img_shape=self._size,
            scale_factor=(1.0, 1.0),
            batch_input_shape=tuple(images.shape[2:]),
        )
        samples = [DetDataSample(metainfo=dict(metainfo)) for _ in images]
        samples = self.model.predict(images, samples)
        found = [sample.pred_instances for sample in samples]
        head = getattr(self.model, 'roi_head', None)
        head = head or self.model.bbox_head
        num = head.test_cfg.max_per_img

        def stack(name: str, value: int) -> Tensor:
            # The places that are left over
            return torch.stack(
                [
                    torch.cat(
                        (
                            x[name],
                            x[name]
                            .new_full((), value)
                            .expand(num - len(x), *x[name].shape[1:]),
                        )
                    )
                    for x in found
                ]
            )

        outputs = dict(boxes=stack('bboxes', 0), scores=stack('scores', 0))
        outputs['labels'] = stack('labels', -1)
        if 'masks' in self.output_names:
            outputs['masks'] = stack('masks', 0)
        return outputs


def check_detector(model: nn.Module) -> None:
    """Checks that this module knows all parts of a detector.

    Raises:
        ValueError: If not. The error names the first other one.
    """
    if hasattr(model, 'roi_head'):
        _check_dense(model, 'rpn_head', RPNHead)
        _check_regions(model.roi_head)
    elif hasattr(model, 'bbox_head'):
        _check_dense(model, 'bbox_head', RetinaHead)
    else:
        _refuse('', model, 'a RetinaNet, Mask R-CNN or Cascade Mask R-CNN')


def _refuse(name: str, found: object, expected: str) -> None:
    found = found if isinstance(found, (str, int)) else type(found).__name__
    raise ValueError(
        f'model{"." if name else ""}{name}: expected {expected}, which can be '
        f'exported, but the config has {found!r}'
    )


def _expect(name: str, part: nn.Module, *kinds: type) -> None:
    if type(part) not in kinds:
        names = ' or '.join(kind.__name__ for kind in kinds)
        _refuse(name, part, f'{names}')


def _check_dense(model: nn.Module, name: str, kind: type) -> None:
    head = getattr(model, name)
    _expect(name, head, kind)
    _expect(f'{name}.bbox_coder', head.bbox_coder, DeltaXYWHBBoxCoder)
    _check_test_cfg(f'{name}.test_cfg', head.test_cfg, 'nms_pre')


def _check_test_cfg(name: str, cfg: ConfigDict, *numbers: str) -> None:
    for key in (*numbers, 'max_per_img'):
        if cfg.get(key, -1) <= 0:
            _refuse(f'{name}.{key}', cfg.get(key, -1), 'a positive number')
    if cfg.nms.get('type', 'nms') != 'nms':
        _refuse(f'{name}.nms.type', cfg.nms.type, "'nms'")


def _check_regions(head: nn.Module) -> None:
    _expect('roi_head', head, StandardRoIHead, CascadeRoIHead)
    _check_test_cfg('roi_head.test_cfg', head.test_cfg)
    if head.with_shared_head:
        _refuse('roi_head.shared_head', head.shared_head, 'none')
    for name, part in _list_parts(head, 'bbox_head'):
        if not isinstance(part, ConvFCBBoxHead) or part.custom_activation:
            _refuse(name, part, 'a ConvFCBBoxHead with softmax')
        _expect(f'{name}.bbox_coder', part.bbox_coder, DeltaXYWHBBoxCoder)
    names = ['bbox_roi_extractor']
    if head.with_mask:
        names.append('mask_roi_extractor')
        for name, part in _list_parts(head, 'mask_head'):
            _expect(name, part, FCNMaskHead)
    for kind in names:
        for name, part in _list_parts(head, kind):
            _expect(name, part, SingleRoIExtractor)
            for layer in part.roi_layers:
                mode = getattr(layer, 'pool_mode', 'none')
                if mode != 'avg':
                    _refuse(f'{name}.roi_layer.pool_mode', mode, "'avg'")


def _list_parts(head: nn.Module, name: str) -> List[Tuple[str, nn.Module]]:
    part = getattr(head, name)
    if not isinstance(part, nn.ModuleList):
        return [(f'roi_head.{name}', part)]
    return [(f'roi_head.{name}.{i}', child) for i, child in enumerate(part)]
