# Copyright (c) mmactive contributors. All rights reserved.
from .family import Family, Name


class P2T(Family):
    """yuhuan-wu/P2T, the first release and the final one."""

    backbone = 'P2T'

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        query = 'q.0' if arch['overlap'] else 'q'
        for i, depth in enumerate(arch['depths']):
            for name in ('proj', 'norm'):
                yield Name(
                    f'downsample_layers.{i}.{name}',
                    f'patch_embed{i + 1}.{name}',
                )
            for k in range(len(arch['pool_ratios'][i])):
                yield Name(
                    f'stages.{i}.pooling.convs.{k}', f'd_convs{i + 1}.{k}'
                )
            for j in range(depth):
                ours, published = f'stages.{i}.blocks.{j}', f'block{i + 1}.{j}'
                for name in ('norm1', 'norm2'):
                    yield Name(f'{ours}.{name}', f'{published}.{name}')
                mixer, attn = f'{ours}.mixer', f'{published}.attn'
                yield Name(f'{mixer}.q', f'{attn}.{query}')
                yield Name(f'{mixer}.kv', f'{attn}.kv.0')
                for name in ('norm', 'proj'):
                    yield Name(f'{mixer}.{name}', f'{attn}.{name}')
                ffn, mlp = f'{ours}.ffn', f'{published}.mlp'
                yield Name(f'{ffn}.conv', f'{mlp}.conv')
                for name in ('fc1', 'fc2'):
                    yield Name(f'{ffn}.{name}', f'{mlp}.{name}', conv=True)

    def extras(self, cfg, arch):
        """In the first release every block holds its stage's convolutions."""
        if arch['overlap']:
            return {}
        return {
            f'block{i + 1}.{j}.attn.d_convs.{k}.{parameter}': (
                f'd_convs{i + 1}.{k}.{parameter}'
            )
            for i, depth in enumerate(arch['depths'])
            for j in range(depth)
            for k in range(len(arch['pool_ratios'][i]))
            for parameter in ('weight', 'bias')
        }
