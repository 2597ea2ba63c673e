# Copyright (c) mmactive contributors. All rights reserved.
from .family import Family, Name


class MorphMLP(Family):
    """MTLab/MorphMLP: its network for videos without the temporal layers."""

    backbone = 'MorphMLP'

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        depths = arch['depths']
        for ours, published in ((0, 1), (2, 2)):
            for name in ('proj', 'norm'):
                yield Name(
                    f'downsample_layers.0.{ours}.{name}',
                    f'patch_embed1.{name}{published}',
                )
        for i, depth in enumerate(depths):
            if i > 0:
                for name in ('proj', 'norm'):
                    yield Name(
                        f'downsample_layers.{i}.{name}',
                        f'patch_embed{i + 1}.{name}',
                    )
            for j in range(depth):
                block, theirs = f'stages.{i}.{j}', f'blocks{i + 1}.{j}'
                for name in ('norm1', 'norm2'):
                    yield Name(f'{block}.{name}', f'{theirs}.{name}')
                mixer, fc = f'{block}.mixer', f'{theirs}.fc'
                for axis in 'hc' if i == len(depths) - 1 else 'hwc':
                    yield Name(f'{mixer}.fc_{axis}', f'{fc}.mlp_{axis}')
                yield Name(f'{mixer}.proj', f'{fc}.proj')
                for name in ('fc1', 'fc2'):
                    yield Name(
                        f'{mixer}.fusion.{name}', f'{fc}.reweight.{name}'
                    )
                    yield Name(f'{block}.ffn.{name}', f'{theirs}.mlp.{name}')
        yield Name(f'norm{len(depths) - 1}', 'norm')
