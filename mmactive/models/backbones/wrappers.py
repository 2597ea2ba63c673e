# Copyright (c) mmactive contributors. All rights reserved.
"""What makes networks of other libraries serve as backbones of classifiers."""

from functools import partial
from typing import List, Optional, Tuple

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmactive.registry import MODELS


def _as_tuple(
    module: nn.Module, inputs: tuple, outputs: List[Tensor]
) -> Tuple[Tensor, ...]:
    return tuple(outputs)


@MODELS.register_module('TupleOutput')
def make_tuple_output(backbone: dict) -> nn.Module:
    """Builds a backbone whose outputs come as a tuple instead of a list.

    mmdet's pyramid vision transformers return lists, which mmpretrain's
    ``GlobalAveragePooling`` refuses. Parameters keep their names, so that the
    published weights load by ``init_cfg``. A detector or segmentor starts from
    a classifier's checkpoint by ``load_from`` and ``allow_partial``: by
    ``init_cfg`` mmdet's classes load whole files, and ignore a ``prefix``.

    Args:
        backbone (dict): Config of the backbone.

    Returns:
        nn.Module: The backbone.
    """
    module = MODELS.build(backbone)
    module.register_forward_hook(_as_tuple)
    return module


@MODELS.register_module()
class ResMLP(BaseModule):
    """ResMLP in timm's implementation, of any size.

    `ResMLP: Feedforward networks for image classification with data-efficient
    training <https://arxiv.org/abs/2105.03404>`_. timm lists ResMLP-S12 and
    S24 with patches of 16x16, but B24 with patches of 8x8 only.

    Args:
        embed_dims (int): Number of channels.
        depth (int): Number of blocks.
        patch_size (int): Height and width of a patch in pixels. Defaults to
            16.
        mlp_ratio (float): Hidden channels of the MLPs, relative to
            ``embed_dims``. Defaults to 4.
        layer_scale_init_value (float): What the layer scales start from.
            Defaults to 1e-4.
        drop_path_rate (float): Probability of stochastic depth, the same in
            all blocks. Defaults to 0.
        img_size (int): Height and width of the images, the only ones that the
            network takes. Defaults to 224.
        init_cfg (dict, optional): Config of the initialization. Defaults to
            None, which is timm's.

    Raises:
        ImportError: If timm is not installed.
    """

    def __init__(
        self,
        embed_dims: int,
        depth: int,
        patch_size: int = 16,
        mlp_ratio: float = 4,
        layer_scale_init_value: float = 1e-4,
        drop_path_rate: float = 0.0,
        img_size: int = 224,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        try:
            from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock
        except ImportError as error:
            raise ImportError(
                'mmactive.ResMLP is made of timm, which is not installed: '
                'pip install timm'
            ) from error
        self.net = MlpMixer(
            num_classes=0,
            img_size=img_size,
            patch_size=patch_size,
            num_blocks=depth,
            embed_dim=embed_dims,
            mlp_ratio=mlp_ratio,
            block_layer=partial(ResBlock, init_values=layer_scale_init_value),
            norm_layer=Affine,
            drop_path_rate=drop_path_rate,
        )

    def forward(self, x: Tensor) -> Tuple[Tensor]:
        """Maps images to the means of their tokens.

        Args:
            x (Tensor): Images of shape (N, 3, img_size, img_size).

        Returns:
            tuple[Tensor]: One tensor of shape (N, embed_dims).
        """
        return (self.net(x),)

    def get_layer_depth(
        self, param_name: str, prefix: str = ''
    ) -> Tuple[int, int]:
        """Numbers the layers from the image on, for learning rate decay.

        Args:
            param_name (str): Name of a parameter of the model.
            prefix (str): What those of the backbone begin with. Defaults to
                an empty string.

        Returns:
            tuple[int, int]: The number of the parameter's layer (0 is the
            projection of patches), and the number of layers.
        """
        num_layers = len(self.net.blocks) + 2
        if param_name.startswith(f'{prefix}net.stem.'):
            return 0, num_layers
        blocks = f'{prefix}net.blocks.'
        if param_name.startswith(blocks):
            block = param_name[len(blocks) :].partition('.')[0]
            return int(block) + 1, num_layers
        return num_layers - 1, num_layers
