# Copyright (c) mmactive contributors. All rights reserved.
from .family import Family, Name


class ViP(Family):
    """houqb/VisionPermutator."""

    backbone = 'ViP'

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        depths, dims = arch['depths'], arch['dims']
        yield Name('downsample_layers.0', 'patch_embed.proj')
        k = -1  # the published network numbers only what there is
        for i, depth in enumerate(depths):
            k += 1
            if i > 0 and dims[i] != dims[i - 1]:
                yield Name(f'downsample_layers.{i}', f'network.{k}.proj')
                k += 1
            for j in range(depth):
                ours, published = f'stages.{i}.{j}', f'network.{k}.{j}'
                for name in ('norm1', 'norm2'):
                    yield Name(f'{ours}.{name}', f'{published}.{name}')
                mixer, attn = f'{ours}.mixer', f'{published}.attn'
                for axis in 'hwc':
                    yield Name(f'{mixer}.fc_{axis}', f'{attn}.mlp_{axis}')
                yield Name(f'{mixer}.proj', f'{attn}.proj')
                for name in ('fc1', 'fc2'):
                    yield Name(
                        f'{mixer}.fusion.{name}', f'{attn}.reweight.{name}'
                    )
                    yield Name(f'{ours}.ffn.{name}', f'{published}.mlp.{name}')
        yield Name(f'norm{len(depths) - 1}', 'norm')
