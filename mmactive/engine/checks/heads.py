# Copyright (c) mmactive contributors. All rights reserved.
"""Checks that heads, data sets and preprocessors agree."""

from typing import Iterator, Tuple

from torch import nn
from torch.utils.data import Dataset

from .data import iter_leaves

# A model's own, not those of the models that a tracker consists of: its
# dataset does not have their classes.
HEADS = (
    *('head', 'decode_head', 'auxiliary_head'),
    *('bbox_head', 'mask_head', 'roi_head.bbox_head', 'roi_head.mask_head'),
)


def check_num_classes(model: nn.Module, dataset: Dataset) -> None:
    """Checks that the heads have the dataset's number of classes.

    Heads that need not have it pass: those for things where the dataset has
    stuff as well, boundaries, and all of models that read the classes' names.

    Args:
        model (nn.Module): The model, or a wrapper of it.
        dataset (Dataset): The dataset, or a wrapper of others. Without
            ``metainfo['classes']`` there is nothing to check.

    Raises:
        ValueError: If a head does not agree. The error names both.
    """
    model = unwrap_model(model)
    if reads_names(model):
        return
    for leaf in iter_leaves(dataset):
        metainfo = getattr(leaf, 'metainfo', None) or {}
        classes = metainfo.get('classes')
        if classes is None or 'stuff_classes' in metainfo:
            continue
        for name, head in iter_heads(model):
            if head.num_classes != len(classes):
                raise ValueError(
                    f'model.{name}.num_classes is {head.num_classes}, but '
                    f'{type(leaf).__name__} has {len(classes)} classes: '
                    f'{", ".join(map(str, classes[:3]))} ...'
                )


def reads_names(model: nn.Module) -> bool:
    """Whether a model reads the names of classes, and has no own of them."""
    model = unwrap_model(model)
    return hasattr(model, 'language_model') or hasattr(model, 'text_encoder')


def check_batch_augments(model: nn.Module) -> None:
    """Checks that a classifier mixes labels of as many classes as it has.

    Args:
        model (nn.Module): The model, or a wrapper of it.

    Raises:
        ValueError: If mixup or the like encodes another number of classes than
            the head has. The error names both.
    """
    model = unwrap_model(model)
    preprocessor = getattr(model, 'data_preprocessor', None)
    if getattr(preprocessor, 'batch_augments', None) is None:
        return
    for name, head in iter_heads(model):
        num_classes = preprocessor.num_classes
        # None leaves it to the images.
        if num_classes not in (None, head.num_classes):
            raise ValueError(
                f'data_preprocessor.num_classes is {num_classes}, but '
                f'model.{name}.num_classes is {head.num_classes}; '
                'train_cfg.augments needs them to be equal'
            )


def iter_heads(model: nn.Module) -> Iterator[Tuple[str, nn.Module]]:
    """Yields a model's heads that tell the dataset's classes apart."""
    for name, module in model.named_modules():
        # The heads of a cascade are numbered.
        parts = [part for part in name.split('.') if not part.isdigit()]
        is_head = '.'.join(parts) in HEADS
        # mmseg's STDC learns boundaries with one.
        is_head = is_head and not hasattr(module, 'boundary_threshold')
        if is_head and getattr(module, 'num_classes', None) is not None:
            yield name, module


def unwrap_model(model: nn.Module) -> nn.Module:
    """Returns the model without distributed training's and TTA's wrappers."""
    while hasattr(model, 'module'):
        model = model.module
    return model
