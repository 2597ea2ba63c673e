# Copyright (c) mmactive contributors. All rights reserved.
import re
from typing import List, Optional

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmactive.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .checks.heads import unwrap_model

# What wrappers inside of a model put into the names of parameters
WRAPPERS = re.compile(
    r'(_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.'
)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Lowers the learning rate layer by layer towards the image.

    It serves the models of all three libraries, and any backbone that has
    mmpretrain's ``get_layer_depth``, as all of this package do. Everything
    behind the backbone learns at the full rate.

    Args:
        optim_wrapper_cfg (dict): Config of the optimizer wrapper.
        paramwise_cfg (dict): What mmengine's constructor takes, and

            - **layer_decay_rate** (float): From one layer to the one before
              it the learning rate is multiplied by this, in (0, 1].

    Raises:
        ValueError: If ``layer_decay_rate`` is missing or out of its range.
        TypeError: If the model has no backbone with ``get_layer_depth``.

    Example:
        >>> optim_wrapper = dict(
        ...     constructor='mmactive.LayerDecayOptimWrapperConstructor',
        ...     paramwise_cfg=dict(layer_decay_rate=0.8, norm_decay_mult=0.0))
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None
    ) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(
                'paramwise_cfg.layer_decay_rate must be in (0, 1], but got '
                f'{rate!r}'
            )
        self.layer_decay_rate = rate

    def add_params(
        self,
        params: List[dict],
        module: nn.Module,
        prefix: str = '',
        **kwargs,
    ) -> None:
        """Adds the parameters of a model as groups of one each.

        Args:
            params (list[dict]): Groups, extended in place.
            module (nn.Module): The model.
            prefix (str): Name of a module of the model. Defaults to an empty
                string, the model itself.
            kwargs (dict): As mmengine's.
        """
        super().add_params(params, module, prefix, **kwargs)
        if prefix:  # mmengine goes from a module to its children.
            return
        backbone = getattr(unwrap_model(module), 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise TypeError(
                'layer_decay_rate needs a model whose backbone has '
                f'get_layer_depth(), but got {type(backbone).__name__} in '
                f'{type(module).__name__}'
            )
        depths = {}
        for name, parameter in backbone.named_parameters():
            name = WRAPPERS.sub('', name)
            depth, num_layers = backbone.get_layer_depth(name, prefix='')
            depths[parameter] = num_layers - 1 - depth
        for group in params:
            (parameter,) = group['params']
            scale = self.layer_decay_rate ** depths.get(parameter, 0)
            group['lr'] = group.get('lr', self.base_lr) * scale
