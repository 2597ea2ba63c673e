# Copyright (c) mmactive contributors. All rights reserved.
from .family import Family, Name


class WaveMLP(Family):
    """huawei-noah/Efficient-AI-Backbones, wavemlp_pytorch."""

    backbone = 'WaveMLP'
    has_dense = True

    def names(self, cfg, arch, dense):
        """See :class:`Family`."""
        depths = arch['depths']
        for i, depth in enumerate(depths):
            down = 'patch_embed' if i == 0 else f'network.{2 * i - 1}'
            yield Name(f'downsample_layers.{i}.proj', f'{down}.proj')
            if arch['downsample_norm']:
                yield Name(f'downsample_layers.{i}.norm', f'{down}.norm')
            for j in range(depth):
                ours, published = f'stages.{i}.{j}', f'network.{2 * i}.{j}'
                for name in ('norm1', 'norm2'):
                    yield Name(f'{ours}.{name}', f'{published}.{name}')
                mixer, attn = f'{ours}.mixer', f'{published}.attn'
                for name in ('fc_h', 'fc_w', 'fc_c', 'proj'):
                    yield Name(f'{mixer}.{name}', f'{attn}.{name}', conv=True)
                for axis in 'hw':
                    phase = f'{attn}.theta_{axis}_conv'
                    yield Name(f'{mixer}.phase_{axis}.proj', f'{phase}.0')
                    yield Name(f'{mixer}.phase_{axis}.norm', f'{phase}.1')
                    yield Name(f'{mixer}.sum_{axis}', f'{attn}.tfc_{axis}')
                for name in ('fc1', 'fc2'):
                    yield Name(
                        f'{mixer}.fusion.{name}',
                        f'{attn}.reweight.{name}',
                        conv=True,
                    )
                    yield Name(
                        f'{ours}.ffn.{name}',
                        f'{published}.mlp.{name}',
                        conv=True,
                    )
        if dense:
            for i in range(len(depths)):
                yield Name(f'norm{i}', f'norm{2 * i}')
        else:
            yield Name(f'norm{len(depths) - 1}', 'norm')
