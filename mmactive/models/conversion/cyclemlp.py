# Copyright (c) mmactive contributors. All rights reserved.
import torch

from .family import Family, Name


class CycleMLP(Family):
    """ShoufaChen/CycleMLP. What it names after h moves along the width."""

    backbone = 'CycleMLP'
    has_dense = True

    def variants(self):
        """See :class:`Family`."""
        for cfg in super().variants():
            if cfg['arch'] not in ('tiny', 'small', 'base'):
                yield cfg

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        depths = arch['depths']
        yield Name('downsample_layers.0', 'patch_embed.proj')
        for i, depth in enumerate(depths):
            if i > 0:
                yield Name(
                    f'downsample_layers.{i}', f'network.{2 * i - 1}.proj'
                )
            for j in range(depth):
                ours, published = f'stages.{i}.{j}', f'network.{2 * i}.{j}'
                for name in ('norm1', 'norm2'):
                    yield Name(f'{ours}.{name}', f'{published}.{name}')
                mixer, attn = f'{ours}.mixer', f'{published}.attn'
                yield Name(f'{mixer}.fc_w', f'{attn}.sfc_h', conv=True)
                yield Name(f'{mixer}.fc_h', f'{attn}.sfc_w', conv=True)
                yield Name(f'{mixer}.fc_c', f'{attn}.mlp_c')
                yield Name(f'{mixer}.proj', f'{attn}.proj')
                for name in ('fc1', 'fc2'):
                    yield Name(
                        f'{mixer}.fusion.{name}', f'{attn}.reweight.{name}'
                    )
                    yield Name(f'{ours}.ffn.{name}', f'{published}.mlp.{name}')
        if dense:
            for i in range(len(depths)):
                yield Name(f'norm{i}', f'norm{2 * i}')
        else:
            yield Name(f'norm{len(depths) - 1}', 'norm')

    def extras(self, cfg, arch):
        """Pairs of offsets (dy, dx) of each channel."""
        extras = {}
        for i, (depth, dim) in enumerate(zip(arch['depths'], arch['dims'])):
            shift = (torch.arange(dim) + 1) % 3 - 1.0
            zero = torch.zeros(dim)
            offsets = dict(sfc_h=(zero, shift), sfc_w=(shift, zero))
            for j in range(depth):
                for name, pair in offsets.items():
                    offset = torch.stack(pair, dim=1).view(1, -1, 1, 1)
                    extras[f'network.{2 * i}.{j}.attn.{name}.offset'] = offset
        return extras
