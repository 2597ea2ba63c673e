# Copyright (c) mmactive contributors. All rights reserved.
from torch import Tensor, nn

from mmactive.ops.linear import linear


class Linear(nn.Linear):
    """``nn.Linear`` by :func:`mmactive.ops.linear.linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., in_features) to (..., out_features)."""
        return linear(x, self.weight, self.bias)
