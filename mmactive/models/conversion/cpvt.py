# Copyright (c) mmactive contributors. All rights reserved.
from .family import Family, Name


class CPVT(Family):
    """A reconstruction: DeiT's names, and those of the PEGs from Twins."""

    backbone = 'CPVT'

    def variants(self):
        """See :class:`Family`."""
        for cfg in super().variants():
            for num_pegs in (5, 1):
                for with_cls_token in (True, False):
                    yield dict(
                        cfg, num_pegs=num_pegs, with_cls_token=with_cls_token
                    )

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        stem = 'downsample_layers.0'
        if cfg['with_cls_token']:
            yield Name(f'{stem}.cls_token', 'cls_token')
        yield Name(f'{stem}.proj', 'patch_embed.proj')
        for j in range(arch['depths'][0]):
            ours, published = f'stages.0.blocks.{j}', f'blocks.{j}'
            for name in ('qkv', 'proj'):
                yield Name(f'{ours}.mixer.{name}', f'{published}.attn.{name}')
            for i in (1, 2):
                yield Name(f'{ours}.norm{i}', f'{published}.norm{i}')
                yield Name(f'{ours}.ffn.fc{i}', f'{published}.mlp.fc{i}')
        for j in range(cfg['num_pegs']):
            yield Name(f'stages.0.pegs.{j}', f'pos_block.{j}.proj.0')
        yield Name('norm0', 'norm')
