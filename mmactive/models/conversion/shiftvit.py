# Copyright (c) mmactive contributors. All rights reserved.
from .family import Family, Name


class ShiftViT(Family):
    """microsoft/SPACH."""

    backbone = 'ShiftViT'

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        depths = arch['depths']
        for name in ('proj', 'norm'):
            yield Name(f'downsample_layers.0.{name}', f'patch_embed.{name}')
        for i, depth in enumerate(depths):
            if i > 0:
                for name in ('norm', 'reduction'):
                    yield Name(
                        f'downsample_layers.{i}.{name}',
                        f'layers.{i - 1}.downsample.{name}',
                    )
            for j in range(depth):
                ours, published = f'stages.{i}.{j}', f'layers.{i}.blocks.{j}'
                yield Name(f'{ours}.norm2', f'{published}.norm2')
                for name in ('fc1', 'fc2'):
                    yield Name(
                        f'{ours}.ffn.{name}',
                        f'{published}.mlp.{name}',
                        conv=True,
                    )
        yield Name(f'norm{len(depths) - 1}', 'norm')
