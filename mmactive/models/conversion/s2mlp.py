# Copyright (c) mmactive contributors. All rights reserved.
from .family import Family, Name


class S2MLP(Family):
    """The third party liuruiyang98/Jittor-MLP; there is no official code.

    A norm of the patch embedding, ``embed_norm``, which that code lacks, tells
    the network of the paper.
    """

    backbone = 'S2MLP'
    head = 'mlp_head.1'

    def variants(self):
        """See :class:`Family`."""
        for cfg in super().variants():
            for position in ('post', 'pre'):
                yield dict(cfg, norm_position=position)

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        depths = arch['depths']
        yield Name('downsample_layers.0.proj', 'stages.0.0')
        if cfg['norm_position'] == 'post':
            yield Name('downsample_layers.0.norm', 'embed_norm')
        for j in range(depths[0]):
            ours, published = f'stages.0.{j}', f'stages.0.1.model.{j}'
            for k, part in enumerate(('mixer', 'ffn')):
                yield Name(f'{ours}.norm{k + 1}', f'{published}.{k}.norm')
                yield Name(f'{ours}.{part}.fc1', f'{published}.{k}.fn.0')
                yield Name(f'{ours}.{part}.fc2', f'{published}.{k}.fn.3')
