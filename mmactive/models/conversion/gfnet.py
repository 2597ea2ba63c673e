# Copyright (c) mmactive contributors. All rights reserved.
import math

from .family import Family, Name


class GFNet(Family):
    """raoyongming/GFNet, for images of any size."""

    backbone = 'GFNet'

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        depths = arch['depths']
        is_pyramid = len(depths) > 1
        yield Name('downsample_layers.0.pos_embed', 'pos_embed')
        for i, depth in enumerate(depths):
            stage = f'.{i}' if is_pyramid else ''
            yield Name(
                f'downsample_layers.{i}' + ('.proj' if i == 0 else ''),
                f'patch_embed{stage}.proj',
            )
            for j in range(depth):
                ours, published = f'stages.{i}.{j}', f'blocks{stage}.{j}'
                if is_pyramid:
                    yield Name(f'{ours}.gamma', f'{published}.gamma')
                yield Name(f'{ours}.mixer', f'{published}.filter')
                for k in (1, 2):
                    yield Name(f'{ours}.norm{k}', f'{published}.norm{k}')
                    yield Name(f'{ours}.ffn.fc{k}', f'{published}.mlp.fc{k}')
        yield Name(f'norm{len(depths) - 1}', 'norm')

    def adapt(self, cfg, weights):
        """Reads off for which images the filters are."""
        for name in ('patch_embed.proj.weight', 'patch_embed.0.proj.weight'):
            if name in weights and 'pos_embed' in weights:
                grid_size = math.isqrt(weights['pos_embed'].size(1))
                img_size = grid_size * weights[name].size(-1)
                return dict(cfg, img_size=img_size)
        return cfg
