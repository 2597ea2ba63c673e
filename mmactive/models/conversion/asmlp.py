# Copyright (c) mmactive contributors. All rights reserved.
from .family import Family, Name


class ASMLP(Family):
    """svip-lab/AS-MLP, and its detection and segmentation repositories."""

    backbone = 'ASMLP'
    has_dense = True

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        depths = arch['depths']
        for name in ('proj', 'norm'):
            yield Name(f'downsample_layers.0.{name}', f'patch_embed.{name}')
        for i, depth in enumerate(depths):
            if i > 0:
                ours, published = f'downsample_layers.{i}', f'layers.{i - 1}'
                yield Name(f'{ours}.norm', f'{published}.downsample.norm')
                yield Name(
                    f'{ours}.reduction',
                    f'{published}.downsample.reduction',
                    conv=True,
                )
            for j in range(depth):
                ours, published = f'stages.{i}.{j}', f'layers.{i}.blocks.{j}'
                for name in ('norm1', 'norm2'):
                    yield Name(f'{ours}.{name}', f'{published}.{name}')
                    yield Name(
                        f'{ours}.mixer.{name}',
                        f'{published}.axial_shift.{name}',
                    )
                for name, conv in dict(
                    fc1='conv1', fc_w='conv2_1', fc_h='conv2_2', proj='conv3'
                ).items():
                    yield Name(
                        f'{ours}.mixer.{name}',
                        f'{published}.axial_shift.{conv}',
                        conv=True,
                    )
                for name in ('fc1', 'fc2'):
                    yield Name(
                        f'{ours}.ffn.{name}',
                        f'{published}.mlp.{name}',
                        conv=True,
                    )
        if dense:
            for i in range(len(depths)):
                yield Name(f'norm{i}', f'norm{i}')
        else:
            yield Name(f'norm{len(depths) - 1}', 'norm')
