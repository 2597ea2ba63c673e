# Copyright (c) mmactive contributors. All rights reserved.
from typing import Any, Dict, Iterator, NamedTuple, Optional, Union

from torch import Tensor

from mmactive.registry import MODELS


class Name(NamedTuple):
    """What a module or a parameter is called.

    Attributes:
        ours (str): In the backbone here.
        published (str): In the published network.
        conv (bool): Whether it is a linear layer here, and a convolution of
            1x1 in the published network.
    """

    ours: str
    published: str
    conv: bool = False


class Family:
    """Names of the published networks of one backbone.

    Subclasses set :attr:`backbone` and write :meth:`names`; the rest they
    override where it differs.
    """

    backbone: str
    """Name of the backbone in the registry, without its scope."""

    has_dense: bool = False
    """Whether there are published networks without a head, and with a norm for
    each output."""

    head: Optional[str] = 'head'
    """Published name of the classifier's linear layer."""

    def variants(self) -> Iterator[dict]:
        """Yields the configs of the backbones that have been published."""
        cls: Any = MODELS.get(f'mmactive.{self.backbone}')
        for arch in cls.arch_settings:
            yield dict(type=f'mmactive.{self.backbone}', arch=arch)

    def names(self, cfg: dict, arch: dict, dense: bool) -> Iterator[Name]:
        """Yields the names of all that has parameters, but for the head.

        Args:
            cfg (dict): One of :meth:`variants`.
            arch (dict): The entry of ``arch_settings``.
            dense (bool): Whether it is a dense backbone.

        Yields:
            Name: The names of a module, or of a parameter that is in none.
        """
        raise NotImplementedError

    def extras(self, cfg: dict, arch: dict) -> Dict[str, Union[Tensor, str]]:
        """Lists what published networks store beyond the parameters.

        Returns:
            dict[str, Tensor | str]: By published name, the only value that is
            allowed, or the published name of what it is an alias of.
        """
        return {}

    def adapt(self, cfg: dict, weights: Dict[str, Tensor]) -> dict:
        """Adds to a config what can be read off the published weights."""
        return cfg
