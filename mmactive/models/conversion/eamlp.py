# Copyright (c) mmactive contributors. All rights reserved.
from .family import Family, Name


class EAMLP(Family):
    """MenghaoGuo/EANet, EAMLP.

    There the two memories of ``attention1`` and ``attention2`` start as one
    tensor, but on a GPU they train apart; here they are two.
    """

    backbone = 'EAMLP'

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        stem, tokens = 'downsample_layers.0', 'tokens_to_token'
        for name in ('cls_token', 'pos_embed'):
            yield Name(f'{stem}.{name}', name)
        yield Name(f'{stem}.proj', f'{tokens}.project')
        for i in (1, 2):
            ours, published = f'{stem}.attention{i}', f'{tokens}.attention{i}'
            yield Name(f'{ours}.q', f'{published}.attn.q_linear')
            yield Name(f'{ours}.proj', f'{published}.attn.proj')
            yield from self._names_of_memories(ours, f'{published}.attn')
            yield from self._names_of_norms_and_mlp(ours, published)
        for j in range(arch['depths'][0]):
            ours, published = f'stages.0.{j}', f'blocks.{j}'
            mixer, attn = f'{ours}.mixer', f'{published}.attn'
            yield Name(f'{mixer}.expand', f'{attn}.trans_dims')
            yield Name(f'{mixer}.proj', f'{attn}.proj')
            yield from self._names_of_memories(mixer, attn)
            yield from self._names_of_norms_and_mlp(ours, published)
        yield Name('norm0', 'norm')

    @staticmethod
    def _names_of_memories(ours, published):
        yield Name(f'{ours}.key_memory', f'{published}.linear_0')
        yield Name(f'{ours}.value_memory', f'{published}.linear_1')

    @staticmethod
    def _names_of_norms_and_mlp(ours, published):
        for i in (1, 2):
            yield Name(f'{ours}.norm{i}', f'{published}.norm{i}')
            yield Name(f'{ours}.ffn.fc{i}', f'{published}.mlp.fc{i}')
