# Copyright (c) mmactive contributors. All rights reserved.
"""Checks that what a checkpoint holds fits the model."""

from torch import nn

from .heads import iter_heads, unwrap


def check_heads(model: nn.Module, checkpoint: dict, filename: str) -> None:
    """Checks that the heads' weights have the shapes of a checkpoint's.

    Args:
        model (nn.Module): The model, or a wrapper of it.
        checkpoint (dict): What was loaded.
        filename (str): Its name.

    Raises:
        ValueError: If shapes differ. The error names the file.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    for name, head in iter_heads(unwrap(model)):
        for key, value in head.state_dict(prefix=f'{name}.').items():
            loaded = weights.get(key, value)
            if loaded.shape != value.shape:
                raise ValueError(
                    f'{filename}: {key} is of shape {tuple(loaded.shape)}, '
                    f'but the config makes it {tuple(value.shape)}: was it '
                    f'trained for {head.num_classes} classes?'
                )
