# Copyright (c) mmactive contributors. All rights reserved.
from typing import Optional

from torch import Tensor

from mmactive.registry import MODELS
from mmactive.utils.dependencies import import_hint

with import_hint():
    from mmseg.models.losses import CrossEntropyLoss as MMSegCrossEntropyLoss


@MODELS.register_module()
class CrossEntropyLoss(MMSegCrossEntropyLoss):
    """mmseg's cross entropy, for weighted classes and ignored pixels at once.

    mmseg's own divides by the weights of all pixels' classes, and looks for
    that of ``ignore_index`` among them, which is an IndexError (in its fork
    one with ``avg_non_ignore`` alone). Here ignored pixels have no weight, so
    that the loss is the weighted mean over the others, as that of
    :class:`torch.nn.CrossEntropyLoss`. Where no pixel is ignored, both losses
    are the same, bit by bit.

    Args:
        args (tuple): As mmseg's.
        kwargs (dict): As mmseg's.
    """

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Optional[Tensor] = None,
        avg_factor: Optional[float] = None,
        reduction_override: Optional[str] = None,
        ignore_index: int = -100,
        **kwargs,
    ) -> Tensor:
        """Calculates the loss.

        Args:
            cls_score (Tensor): Logits, of shape (N, C, H, W).
            label (Tensor): Classes, of shape (N, H, W).
            weight (Tensor, optional): Weight of each pixel, of shape
                (N, H, W). Defaults to None.
            avg_factor (float, optional): What the sum of losses is divided
                by. Defaults to None: the sum of the pixels' class weights, or
                what mmseg takes where classes have none.
            reduction_override (str, optional): 'none', 'mean' or 'sum'
                instead of ``reduction``. Defaults to None.
            ignore_index (int): Label of pixels to ignore. Defaults to -100.
            kwargs (dict): As mmseg's.

        Returns:
            Tensor: The loss.
        """
        reduction = reduction_override or self.reduction
        is_softmax = not (self.use_sigmoid or self.use_mask)
        is_mean = reduction == 'mean' and avg_factor is None
        if self.class_weight is not None and is_softmax and is_mean:
            valid = label != ignore_index
            class_weight = cls_score.new_tensor(self.class_weight)
            avg_factor = (class_weight[label * valid] * valid).sum()
        return super().forward(
            cls_score,
            label,
            weight,
            avg_factor=avg_factor,
            reduction_override=reduction_override,
            ignore_index=ignore_index,
            **kwargs,
        )
