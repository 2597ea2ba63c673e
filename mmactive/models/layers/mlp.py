# Copyright (c) mmactive contributors. All rights reserved.
from typing import Optional

from mmcv.cnn import build_activation_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from .recompute import recompute
from .tokens import apply


class MLP(BaseModule):
    """Two linear layers with an activation between them.

    Args:
        in_dims (int): Number of input channels.
        hidden_dims (int): Number of channels in between.
        out_dims (int, optional): Number of output channels. Defaults to
            ``in_dims``.
        act_cfg (dict): Config of the activation. Defaults to
            ``dict(type='GELU')``.
        with_cp (bool): Whether to recompute the activation, which must not be
            random, in the backward pass instead of keeping its output.
            Defaults to False.
        init_cfg (dict, optional): Config of the initialization. Defaults to
            None.
    """

    def __init__(
        self,
        in_dims: int,
        hidden_dims: int,
        out_dims: Optional[int] = None,
        act_cfg: dict = dict(type='GELU'),
        with_cp: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg)
        self.with_cp = with_cp
        self.fc1 = nn.Linear(in_dims, hidden_dims)
        self.act = build_activation_layer(act_cfg)
        self.fc2 = nn.Linear(hidden_dims, out_dims or in_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., in_dims) to (..., out_dims)."""
        x = apply(self.fc1, x)
        if self.with_cp and self.training:
            return recompute(self._activate, x)
        return self._activate(x)

    def _activate(self, x: Tensor) -> Tensor:
        return apply(self.fc2, self.act(x))
