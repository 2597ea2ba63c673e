# Copyright (c) mmactive contributors. All rights reserved.
from .family import Family, Name


class ActiveMLP(Family):
    """microsoft/ActiveMLP."""

    backbone = 'ActiveMLP'
    has_dense = True

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        depths = arch['depths']
        yield Name('downsample_layers.0', 'patch_embed.proj')
        for i, depth in enumerate(depths):
            if i > 0:
                last = f'blocks.{i - 1}.{depths[i - 1] - 1}'
                yield Name(f'downsample_layers.{i}', f'{last}.downsample.proj')
            yield Name(f'stages.{i}.peg', f'pos_blocks.{i}.proj')
            for j in range(depth):
                ours, published = f'stages.{i}.blocks.{j}', f'blocks.{i}.{j}'
                for name in ('offset_layer.0', 'offset_layer.1'):
                    yield Name(f'{ours}.{name}', f'{published}.{name}')
                for name in ('norm1', 'norm2'):
                    yield Name(f'{ours}.{name}', f'{published}.{name}')
                for name in 'wh':
                    yield Name(
                        f'{ours}.mixer.fc_{name}',
                        f'{published}.atm.atm_{name}',
                        conv=True,
                    )
                yield Name(f'{ours}.mixer.fc_c', f'{published}.atm.atm_c')
                for name in ('fusion.fc1', 'fusion.fc2', 'proj'):
                    yield Name(
                        f'{ours}.mixer.{name}', f'{published}.atm.{name}'
                    )
                for name in ('fc1', 'fc2'):
                    yield Name(f'{ours}.ffn.{name}', f'{published}.mlp.{name}')
        if dense:
            for i in range(len(depths)):
                yield Name(f'norm{i}', f'norm_{i}')
        else:
            yield Name(f'norm{len(depths) - 1}', 'norm')
