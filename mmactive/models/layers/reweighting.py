# Copyright (c) mmactive contributors. All rights reserved.
import torch
from torch import Tensor

from .mlp import MLP


class Reweighting(MLP):
    """Sums the branches of a token mixer, with weights of their means.

    The weights are those of an image and a channel: an MLP computes them from
    the mean over all positions and branches, and a softmax over the branches
    makes them add up to one. This is Eq. (3) and (4) of the ActiveMLP paper;
    CycleMLP, WaveMLP, MorphMLP and ViP do the same.

    Args:
        embed_dims (int): Number of channels C.
        num_branches (int): Number of branches B. Defaults to 3.
        ratio (float): Hidden channels of the MLP, relative to ``embed_dims``.
            Defaults to 0.25.
        act_cfg (dict): Config of the MLP's activation. Defaults to
            ``dict(type='GELU')``.
    """

    def __init__(
        self,
        embed_dims: int,
        num_branches: int = 3,
        ratio: float = 0.25,
        act_cfg: dict = dict(type='GELU'),
    ) -> None:
        super().__init__(
            embed_dims,
            int(embed_dims * ratio),
            num_branches * embed_dims,
            act_cfg=act_cfg,
        )
        self.num_branches = num_branches

    def compute_weights(self, mean: Tensor) -> Tensor:
        """Computes weights (B, N, C) from means (N, C)."""
        weights = super().forward(mean).unflatten(1, (-1, self.num_branches))
        return weights.movedim(2, 0).softmax(dim=0)

    def forward(self, *branches: Tensor) -> Tensor:
        """Sums tokens.

        Args:
            branches (tuple[Tensor]): B tensors of shape (N, H, W, C).

        Returns:
            Tensor: Tokens of shape (N, H, W, C).
        """
        # The mean of the sum, without the sum.
        mean = branches[0].mean(dim=(1, 2))
        for branch in branches[1:]:
            mean = mean + branch.mean(dim=(1, 2))
        weights = self.compute_weights(mean).to(branches[0].dtype)
        weights = weights[:, :, None, None]
        fused = branches[0] * weights[0]
        for branch, weight in zip(branches[1:], weights[1:]):
            fused = torch.addcmul(fused, branch, weight)
        return fused
