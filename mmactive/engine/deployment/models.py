# Copyright (c) mmactive contributors. All rights reserved.
"""What is exported of a model: modules of tensors in and tensors out."""

from typing import Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmactive.ops.adaptive_avg_pool2d import adaptive_avg_pool2d

from ..options import TASKS


class Preprocessing(nn.Module):
    """What the data preprocessor of a model does with a batch in a test.

    Args:
        preprocessor (nn.Module): That of mmpretrain, mmdet or mmseg.

    Raises:
        ValueError: If it pads images to a fixed size.
    """

    def __init__(self, preprocessor: nn.Module) -> None:
        super().__init__()
        get = vars(preprocessor).get
        self.swaps_channels = bool(
            get('_channel_conversion')
            or get('channel_conversion')
            or get('to_rgb')
        )
        # mmseg pads in tests by settings of their own.
        padding = get('test_cfg') or {}
        if padding.get('size') is not None:
            raise ValueError(
                'data_preprocessor.test_cfg.size: expected none, since what '
                'is exported takes images of any size, but got '
                f'{padding["size"]}'
            )
        divisor = padding.get('size_divisor') or get('pad_size_divisor')
        self.divisor = divisor or 1
        self.pad_value = get('pad_value') or get('pad_val') or 0
        mean = getattr(preprocessor, 'mean', torch.zeros(1, 1, 1))
        std = getattr(preprocessor, 'std', torch.ones(1, 1, 1))
        self.register_buffer('mean', mean.clone(), persistent=False)
        self.register_buffer('std', std.clone(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps pixels (N, C, H, W) to what the backbone takes."""
        if self.swaps_channels:
            images = images.flip(1)
        images = (images - self.mean) / self.std
        if self.divisor == 1:
            return images
        height, width = (-x % self.divisor for x in images.shape[2:])
        return F.pad(images, (0, width, 0, height), value=self.pad_value)


class Exportable(nn.Module):
    """Base of what is exported: images in, tensors out.

    Args:
        model (nn.Module): The model of a config, in eval mode.
        is_normalized (bool): Whether images come as the data preprocessor
            returns them, and not as it takes them. Defaults to False.

    Attributes:
        output_names (list[str]): Names of the outputs.
    """

    def __init__(self, model: nn.Module, is_normalized: bool = False) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = nn.Identity()
        if not is_normalized:
            self.preprocessing = Preprocessing(model.data_preprocessor)
        self.is_normalized = is_normalized
        self.output_names: List[str] = []

    @torch.no_grad()
    def predict(self, images: Tensor) -> Dict[str, Tensor]:
        """Predicts by the library's own code what the exported model should.

        Args:
            images (Tensor): (N, C, H, W), float32.

        Returns:
            dict[str, Tensor]: The outputs by name, on the CPU.
        """
        if not self.is_normalized:
            data = dict(inputs=list(images), data_samples=None)
            images = self.model.data_preprocessor(data)['inputs']
        outputs = self._predict(images)
        return {name: output.cpu() for name, output in outputs.items()}


class ExportableBackbone(Exportable):
    """A backbone. Arguments are those of :class:`Exportable`."""

    def __init__(self, model: nn.Module, is_normalized: bool = False) -> None:
        super().__init__(model, is_normalized)
        num = len(getattr(model.backbone, 'out_indices', [-1]))
        self.output_names = [f'feature{i}' for i in range(num)]

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Extracts features of images (N, C, H, W)."""
        return tuple(self.model.backbone(self.preprocessing(images)))

    def _predict(self, images: Tensor) -> Dict[str, Tensor]:
        return dict(zip(self.output_names, self.model.backbone(images)))


class ExportableClassifier(Exportable):
    """mmpretrain's ``ImageClassifier``, see :class:`Exportable`.

    Raises:
        ValueError: If its head does not choose one class by softmax.
    """

    def __init__(self, model: nn.Module, is_normalized: bool = False) -> None:
        from mmpretrain.models.heads import ClsHead

        super().__init__(model, is_normalized)
        head = getattr(model, 'head', None)
        if not isinstance(head, ClsHead):
            raise ValueError(
                'model.head: expected a ClsHead, which can be exported, but '
                f'the config has {type(head).__name__!r}'
            )
        self.output_names = ['scores']

    def forward(self, images: Tensor) -> Tensor:
        """Returns the probabilities of classes for images (N, C, H, W)."""
        return self.model(self.preprocessing(images)).softmax(dim=1)

    def _predict(self, images: Tensor) -> Dict[str, Tensor]:
        samples = self.model.predict(images)
        return dict(scores=torch.stack([x.pred_score for x in samples]))


class ExportableSegmentor(Exportable):
    """mmseg's ``EncoderDecoder``, see :class:`Exportable`.

    Raises:
        ValueError: If it is another one, or looks through windows.
    """

    def __init__(self, model: nn.Module, is_normalized: bool = False) -> None:
        from mmseg.models import EncoderDecoder

        super().__init__(model, is_normalized)
        if type(model) is not EncoderDecoder:
            raise ValueError(
                'model: expected an EncoderDecoder, which can be exported, '
                f'but the config has {type(model).__name__!r}'
            )
        if model.test_cfg.mode != 'whole':
            raise ValueError(
                "model.test_cfg.mode: expected 'whole', since windows are up "
                'to who runs what is exported, but the config has '
                f'{model.test_cfg.mode!r}'
            )
        self.output_names = ['logits']

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits (N, classes, H, W) of images (N, C, H, W)."""
        height, width = images.shape[2:]
        images = self.preprocessing(images)
        logits = F.interpolate(
            self.model(images),
            size=images.shape[2:],
            mode='bilinear',
            align_corners=self.model.align_corners,
        )
        return logits[:, :, :height, :width]

    def predict(self, images: Tensor) -> Dict[str, Tensor]:
        """Predicts, without what the data preprocessor pads."""
        outputs = super().predict(images)
        height, width = images.shape[2:]
        return dict(logits=outputs['logits'][:, :, :height, :width])

    def _predict(self, images: Tensor) -> Dict[str, Tensor]:
        samples = self.model.predict(images)
        return dict(logits=torch.stack([x.seg_logits.data for x in samples]))


class AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """PyTorch's module of this name that can be exported to ONNX."""

    def forward(self, x: Tensor) -> Tensor:
        """Averages maps (N, C, H, W) over a grid of cells."""
        size = self.output_size
        if isinstance(size, int):
            size = (size, size)
        return adaptive_avg_pool2d(x, size)


def replace_layers(module: nn.Module) -> None:
    """Replaces layers by ones that compute the same for images of any size.

    They are PyTorch's adaptive pooling, which ONNX has not, and mmseg's
    ``Upsample``, which makes plain numbers of sizes.
    """
    for name, child in module.named_children():
        if type(child) is nn.AdaptiveAvgPool2d:
            new = AdaptiveAvgPool2d(child.output_size)
        elif type(child).__name__ == 'Upsample' and child.size is None:
            new = nn.Upsample(
                scale_factor=child.scale_factor,
                mode=child.mode,
                align_corners=child.align_corners,
            )
        else:
            replace_layers(child)
            continue
        setattr(module, name, new)


def make_exportable(
    model: nn.Module,
    scope: str,
    only_backbone: bool = False,
    is_normalized: bool = False,
) -> Exportable:
    """Makes a module that can be exported.

    Args:
        model (nn.Module): A classifier, a detector or a segmentor, in eval
            mode. It is changed.
        scope (str): The library it is of: 'mmpretrain', 'mmdet', 'mmseg'.
        only_backbone (bool): Whether to take its backbone alone. Defaults to
            False.
        is_normalized (bool): Whether images come as the data preprocessor
            returns them, and not as it takes them. Defaults to False.

    Returns:
        Exportable: What takes images (N, C, H, W), float32.

    Raises:
        ValueError: If the model has a part that cannot be exported. The error
            names it.
    """
    replace_layers(model)
    if only_backbone:
        kind = ExportableBackbone
    elif TASKS[scope] == 'classification':
        kind = ExportableClassifier
    elif TASKS[scope] == 'segmentation':
        kind = ExportableSegmentor
    else:
        from .detectors import ExportableDetector

        kind = ExportableDetector
    return kind(model, is_normalized).eval()


def get_fixed_size(module: nn.Module) -> List[int]:
    """Returns the only height and width that a model takes, or nothing."""
    sizes = [getattr(child, 'image_size', None) for child in module.modules()]
    size = next((size for size in sizes if isinstance(size, int)), None)
    return [] if size is None else [size, size]
