# Copyright (c) mmactive contributors. All rights reserved.
"""Counts parameters and multiply-adds of the models of all three libraries."""

import copy
from contextlib import contextmanager, nullcontext
from typing import Iterator, NamedTuple, Sequence

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

# How many regions of an image the box and the mask heads of a two-stage
# detector see, by mmdet's convention. What an untrained detector proposes
# would be random.
NUM_BOX_REGIONS = 1000
NUM_MASK_REGIONS = 100


class Complexity(NamedTuple):
    """What a model costs.

    Attributes:
        params (int): Number of parameters, those of auxiliary heads included.
        macs (int): Multiply-adds of a forward pass of one image.
        attention_macs (int): Those of them in products of two activations, as
            in attention, which some counters leave out.
        other_ops (int): Operations of norms and resizing, which some counters
            add; see :class:`OtherOperations`.
    """

    params: int
    macs: int
    attention_macs: int
    other_ops: int


class OtherOperations(TorchDispatchMode):
    """Counts operations beside multiply-adds, as fvcore does.

    fvcore takes 5 operations for each element of a layer or group norm, 2 of a
    batch norm, 4 of a bilinearly resized map and 1 of a map that is resized by
    its nearest neighbours. Its count of pooling is negligible.

    Attributes:
        count (int): Number of operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Runs an operator of PyTorch and counts it."""
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ('native_layer_norm', 'native_group_norm'):
            self.count += 5 * out[0].numel()
        elif 'batch_norm' in name:
            self.count += 2 * out[0].numel()
        elif name == 'upsample_bilinear2d':
            self.count += 4 * out.numel()
        elif name == 'upsample_nearest2d':
            self.count += out.numel()
        return out


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Makes attention run as the matrix products that it is made of.

    Its fused kernels would not be counted.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


class _EmptyOnMeta(TorchFunctionMode):
    """Puts what is to be initialized on the meta device.

    That saves the memory and the time for all weights. Other factories stay:
    the numbers that they make may be read while a model is built.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.empty:
            kwargs = {**kwargs, 'device': 'meta'}
        return func(*args, **kwargs)


def build_model(cfg: Config, device: str = 'meta') -> nn.Module:
    """Builds the model of a config for counting.

    Args:
        cfg (Config): The config.
        device (str): Where to count. On the default, 'meta', there are shapes
            but no values, so that nothing is computed.

    Returns:
        nn.Module: The model in eval mode, with untrained weights.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    mode = _EmptyOnMeta() if device == 'meta' else nullcontext()
    with mode:
        model = MODELS.build(copy.deepcopy(cfg.model))
    return revert_sync_batchnorm(model).to(device).eval()


def count_complexity(
    model: nn.Module, shape: Sequence[int], in_channels: int = 3
) -> Complexity:
    """Counts parameters and multiply-adds.

    Multiply-adds are those of convolutions, linear layers and other matrix
    products, those of attention included, up to the outputs of the heads.
    Nothing else counts, in particular no gather, FFT, norm, activation or
    pooling; this is the convention of the paper's FLOPs.

    Args:
        model (nn.Module): A classifier, detector or segmentor, or a backbone,
            in eval mode, on any device.
        shape (Sequence[int]): Height and width of the image in pixels.
        in_channels (int): Channels of the image. Defaults to 3.

    Returns:
        Complexity: Parameters and operations for one image.

    Raises:
        NotImplementedError: If the model is a two-stage detector with RoI
            heads other than mmdet's standard and cascade ones.
    """
    device = next(model.parameters()).device
    image = torch.zeros(1, in_channels, *shape, device=device)
    counter, others = FlopCounterMode(display=False), OtherOperations()
    with torch.no_grad(), _plain_attention(), counter, others:
        if hasattr(model, 'roi_head'):
            _forward_two_stage(model, image)
        elif hasattr(model, 'bbox_head'):
            _forward_single_stage(model, image)
        else:
            model(image)
    counts = counter.get_flop_counts().get('Global', {})
    aten = torch.ops.aten
    attention = sum(counts.get(op, 0) for op in (aten.bmm, aten.baddbmm))
    return Complexity(
        params=sum(parameter.numel() for parameter in model.parameters()),
        # The counter takes a multiply-add for two operations.
        macs=counter.get_total_flops() // 2,
        attention_macs=attention // 2,
        other_ops=others.count,
    )


def _forward_single_stage(model: nn.Module, image: Tensor) -> None:
    from mmdet.structures import DetDataSample

    # DETR and its descendants ask how much of the image is padding.
    shape = tuple(image.shape[2:])
    metainfo = dict(img_shape=shape, batch_input_shape=shape)
    model(image, [DetDataSample(metainfo=metainfo)], mode='tensor')


def _forward_two_stage(model: nn.Module, image: Tensor) -> None:
    """Runs everything but proposing and pooling regions."""
    kind = type(model.roi_head).__name__
    if kind not in ('StandardRoIHead', 'CascadeRoIHead'):
        raise NotImplementedError(
            'roi_head: multiply-adds can be counted for StandardRoIHead and '
            f'CascadeRoIHead, but the model has {kind}'
        )
    features = model.extract_feat(image)
    model.rpn_head(features)
    head = model.roi_head
    _forward_regions(
        head.bbox_head, head.bbox_roi_extractor, NUM_BOX_REGIONS, image
    )
    if head.with_mask:
        extractor = head.mask_roi_extractor
        if head.share_roi_extractor:
            extractor = head.bbox_roi_extractor
        _forward_regions(head.mask_head, extractor, NUM_MASK_REGIONS, image)


def _forward_regions(
    head: nn.Module, extractor: nn.Module, num_regions: int, like: Tensor
) -> None:
    """Runs a head, or one for each stage of a cascade, on pooled regions."""
    if not isinstance(head, nn.ModuleList):
        head, extractor = [head], [extractor]
    for stage_head, stage_extractor in zip(head, extractor):
        size = stage_extractor.roi_layers[0].output_size
        stage_head(
            like.new_zeros(num_regions, stage_extractor.out_channels, *size)
        )
