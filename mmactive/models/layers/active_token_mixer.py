# Copyright (c) mmactive contributors. All rights reserved.
from typing import Optional

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmactive.ops import axial_deform_gather
from mmactive.registry import MODELS

from .recompute import recompute
from .reweighting import Reweighting
from .tokens import apply


def _autocast(x: Tensor) -> Tensor:
    """Does once what autocast would do to ``x`` in each of its uses."""
    device = x.device.type
    if (
        device == 'meta'
        or not torch.is_autocast_enabled(device)
        or x.dtype == torch.float64
    ):
        return x
    return x.to(torch.get_autocast_dtype(device))


@MODELS.register_module()
class ActiveTokenMixer(BaseModule):
    """Active Token Mixer (ATM), Fig. 2 and Sec. 3.2.1 of the paper.

    Recomposes every token along the horizontal and along the vertical axis,
    each channel from its own place (Eq. 2), and mixes the two with the token
    itself by weights per image and channel (Eq. 3 and 4).

    Args:
        embed_dims (int): Number of channels C.
        fusion_ratio (float): Hidden channels of the fusion MLP, relative to
            ``embed_dims``. Defaults to 0.25.
        act_cfg (dict): Config of the fusion MLP's activation. Defaults to
            ``dict(type='GELU')``.
        init_cfg (dict, optional): Config of the initialization. Defaults to a
            truncated normal distribution of std 0.02.
    """

    def __init__(
        self,
        embed_dims: int,
        fusion_ratio: float = 0.25,
        act_cfg: dict = dict(type='GELU'),
        init_cfg: Optional[dict] = dict(
            type='TruncNormal', layer='Linear', std=0.02, bias=0.0
        ),
    ) -> None:
        super().__init__(init_cfg)
        self.fc_w = nn.Linear(embed_dims, embed_dims)
        self.fc_h = nn.Linear(embed_dims, embed_dims)
        self.fc_c = nn.Linear(embed_dims, embed_dims, bias=False)
        self.fusion = Reweighting(
            embed_dims, ratio=fusion_ratio, act_cfg=act_cfg
        )
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.deploy = False

    def switch_to_deploy(self) -> None:
        """Makes inference on many tokens faster.

        For one image, all that follows the recomposition is a single linear
        map of the two recomposed tokens and the token itself. Where the tokens
        of an image outnumber its 3 C columns, it takes less to compute this
        map than to go without. Parameters and, but for rounding, results
        remain.
        """
        self.deploy = True

    def forward(self, x: Tensor, offset: Optional[Tensor] = None) -> Tensor:
        """Mixes tokens.

        Args:
            x (Tensor): Tokens of shape (N, H, W, C).
            offset (Tensor, optional): Offsets in tokens of shape (N, H, W,
                2G): G horizontal ones, then G vertical ones, each for C / G
                neighbouring channels. None means that all are zero.

        Returns:
            Tensor: Mixed tokens of shape (N, H, W, C).
        """
        x = _autocast(x)
        offsets = (None, None) if offset is None else offset.chunk(2, dim=-1)
        if self.deploy and x.shape[1:3].numel() > 3 * x.size(3):
            return self._forward_folded(x, *offsets)

        w = self._mix_axis(self.fc_w, x, offsets[0], dim=2)
        h = self._mix_axis(self.fc_h, x, offsets[1], dim=1)
        return apply(self.proj, self.fusion(w, h, apply(self.fc_c, x)))

    def recompose(
        self, x: Tensor, offset: Optional[Tensor], dim: int
    ) -> Tensor:
        """Recomposes tokens along one axis, Eq. (2).

        Args:
            x (Tensor): Tokens of shape (N, H, W, C).
            offset (Tensor, optional): Offsets of this axis, (N, H, W, G). None
                means that all are zero.
            dim (int): 1 for the vertical axis, 2 for the horizontal one.

        Returns:
            Tensor: Tokens of shape (N, H, W, C).
        """
        return x if offset is None else axial_deform_gather(x, offset, dim)

    def _mix_axis(
        self, layer: nn.Linear, x: Tensor, offset: Optional[Tensor], dim: int
    ) -> Tensor:
        """Recomposes the tokens along one axis and applies its layer."""

        def _forward(x, offset):
            return apply(layer, self.recompose(x, offset, dim))

        if self.training:
            return recompute(_forward, x, offset)
        return _forward(x, offset)

    def _forward_folded(
        self, x: Tensor, offset_w: Optional[Tensor], offset_h: Optional[Tensor]
    ) -> Tensor:
        """Applies one linear map per image to the recomposed tokens."""
        shape = x.shape
        layers = self.fc_w, self.fc_h, self.fc_c
        w = self.recompose(x, offset_w, dim=2)
        h = self.recompose(x, offset_h, dim=1)
        x = torch.cat((w, h, x), dim=-1).flatten(1, 2)  # (N, H * W, 3C)
        # The mean of a linear map is the linear map of the mean.
        means = x.mean(dim=1).chunk(3, dim=-1)
        mean = sum(layer(mean) for layer, mean in zip(layers, means))
        weights = self.fusion.compute_weights(mean)
        map_w, map_h, map_c = (
            self.proj.weight @ (weight[:, :, None] * layer.weight)
            for weight, layer in zip(weights, layers)
        )
        bias = apply(
            self.proj,
            weights[0] * self.fc_w.bias + weights[1] * self.fc_h.bias,
        )
        map_x = torch.cat((map_w, map_h, map_c), dim=2).transpose(1, 2)
        return torch.baddbmm(bias[:, None], x, map_x).view(shape)
