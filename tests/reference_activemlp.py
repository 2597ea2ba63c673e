# Copyright (c) mmactive contributors. All rights reserved.
"""ActiveMLP as the paper's checkpoints hold it: slow, plain, independent.

This is the formulation the released weights belong to, written on
``torchvision.ops.deform_conv2d`` without a line of ``mmactive``: a sampled
branch is a 1x1 deformable convolution with one offset group a channel, in
which one of the two offsets is zero. Parameter names and shapes are exactly
the released ones, so a ``state_dict`` of this model is a released checkpoint
with other numbers. The tests compare backbone and converter against it.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torchvision.ops import deform_conv2d

NARROW = (64, 128, 320, 512)
ARCHS = {
    'xtiny': dict(
        depths=(2, 2, 4, 2),
        dims=NARROW,
        mlp_ratios=(4, 4, 4, 4),
        shared_channels=(2, 4, 4, 8),
        interval=2,
    ),
    'tiny': dict(
        depths=(2, 3, 10, 3),
        dims=NARROW,
        mlp_ratios=(4, 4, 4, 4),
        shared_channels=(2, 4, 4, 8),
        interval=2,
    ),
    'small': dict(
        depths=(3, 4, 18, 3),
        dims=NARROW,
        mlp_ratios=(8, 8, 4, 4),
        shared_channels=(2, 4, 4, 8),
        interval=6,
    ),
    'base': dict(
        depths=(3, 8, 27, 3),
        dims=NARROW,
        mlp_ratios=(8, 8, 4, 4),
        shared_channels=(2, 4, 4, 8),
        interval=6,
    ),
    'large': dict(
        depths=(3, 4, 24, 3),
        dims=(96, 192, 384, 768),
        mlp_ratios=(4, 4, 4, 4),
        shared_channels=(2, 4, 4, 8),
        interval=6,
    ),
}

# What the network is known to count: parameters of the classifier with 1000
# classes, its multiply-adds in G at 224x224, parameters of the dense backbone.
COUNTS = {
    'xtiny': (15_349_128, 2.168, 14_837_152),
    'tiny': (27_152_232, 3.954, 26_640_256),
    'small': (38_631_448, 6.888, 38_119_472),
    'base': (52_154_792, 10.113, 51_642_816),
    'large': (76_238_032, 12.348, 75_470_376),
}


class Conv(nn.Module):
    """A convolution under the name ``proj``, as the checkpoints have it."""

    def __init__(self, *args, **kwargs):
        super().__init__()
        self.proj = nn.Conv2d(*args, **kwargs)

    def forward(self, x):
        """Convolve tokens (N, H, W, C)."""
        return self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Mlp(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, dim, hidden, out):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x):
        """Apply to the last dimension."""
        return self.fc2(F.gelu(self.fc1(x)))


class ATM(nn.Module):
    """Active token mixer on two deformable convolutions.

    Args:
        dim (int): Channels C.
        shared (int): Neighbouring channels S that one offset serves.
    """

    def __init__(self, dim, shared):
        super().__init__()
        self.shared = shared
        self.atm_c = nn.Linear(dim, dim, bias=False)
        self.atm_h = nn.Conv2d(dim, dim, 1)
        self.atm_w = nn.Conv2d(dim, dim, 1)
        self.fusion = Mlp(dim, dim // 4, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def branch(self, conv, x, along_h, along_w):
        """Deformable 1x1 convolution; offsets (N, C, H, W) in tokens."""
        # deform_conv2d reads (dy, dx) pairs, one pair an offset group
        offset = torch.stack((along_h, along_w), dim=2).flatten(1, 2)
        out = deform_conv2d(
            x.permute(0, 3, 1, 2), offset, conv.weight, conv.bias
        )
        return out.permute(0, 2, 3, 1)

    def forward(self, x, offset):
        """Mix tokens.

        Args:
            x (Tensor): Tokens (N, H, W, C).
            offset (Tensor | None): (N, H, W, 2C/S), the horizontal ones
                first, in tokens. None: all zero.

        Returns:
            Tensor: (N, H, W, C).
        """
        n, h, w, c = x.shape
        if offset is None:
            offset = x.new_zeros(n, h, w, 2 * c // self.shared)
        offset = offset.permute(0, 3, 1, 2)
        offset = offset.repeat_interleave(self.shared, dim=1)
        horizontal, vertical = offset.chunk(2, dim=1)
        zero = torch.zeros_like(horizontal)

        x_w = self.branch(self.atm_w, x, zero, horizontal)
        x_h = self.branch(self.atm_h, x, vertical, zero)
        x_c = self.atm_c(x)

        pooled = (x_w + x_h + x_c).mean(dim=(1, 2))
        weight = self.fusion(pooled).view(n, c, 3).softmax(dim=2)
        weight = weight.view(n, 1, 1, c, 3)
        x = x_w * weight[..., 0] + x_h * weight[..., 1] + x_c * weight[..., 2]
        return self.proj(x)


class Block(nn.Module):
    """A block; it may generate offsets, it may close its stage."""

    def __init__(self, dim, mlp_ratio, shared, generates, next_dim):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.atm = ATM(dim, shared)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio * dim, dim)
        self.offset_layer = (
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim // shared))
            if generates
            else None
        )
        self.downsample = (
            Conv(dim, next_dim, 3, stride=2, padding=1) if next_dim else None
        )


class ReferenceActiveMLP(nn.Module):
    """The whole network under the released names.

    Args:
        arch (str | dict): A name in ``ARCHS`` or a dict with the same keys.
            ``interval`` None: no offsets are generated, all are zero.
        num_classes (int): Classes of the classifier.
        dense (bool): Build the dense backbone (``norm_0`` to ``norm_3``)
            instead of the classifier (``norm`` and ``head``).
        in_channels (int): Channels of the image.
    """

    def __init__(self, arch, num_classes=1000, dense=False, in_channels=3):
        super().__init__()
        arch = ARCHS[arch] if isinstance(arch, str) else arch
        depths, dims = arch['depths'], arch['dims']
        interval = arch['interval']
        self.dense = dense
        self.patch_embed = Conv(in_channels, dims[0], 7, stride=4, padding=2)
        self.blocks = nn.ModuleList()
        for i, (depth, dim) in enumerate(zip(depths, dims)):
            stage = nn.ModuleList()
            for j in range(depth):
                last = j == depth - 1
                generates = (
                    interval is not None and j % interval == 0 and not last
                )
                next_dim = dims[i + 1] if last and i + 1 < len(dims) else None
                stage.append(
                    Block(
                        dim,
                        arch['mlp_ratios'][i],
                        arch['shared_channels'][i],
                        generates,
                        next_dim,
                    )
                )
            self.blocks.append(stage)
        self.pos_blocks = nn.ModuleList(
            Conv(dim, dim, 3, padding=1, groups=dim) for dim in dims
        )
        if dense:
            for i, dim in enumerate(dims):
                setattr(self, f'norm_{i}', nn.LayerNorm(dim))
        else:
            self.norm = nn.LayerNorm(dims[-1])
            self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, x):
        """Run on images (N, 3, H, W).

        Returns:
            Tensor | list[Tensor]: Logits (N, num_classes), or the four
            normed maps (N, C, H, W) of the dense backbone.
        """
        x = self.patch_embed(x.permute(0, 2, 3, 1))
        outs = []
        for i, stage in enumerate(self.blocks):
            offset = None
            for block in stage:
                if block.offset_layer is not None:
                    x = x + self.pos_blocks[i](x)
                    offset = block.offset_layer(x)
                x = x + block.atm(block.norm1(x), offset)
                x = x + block.mlp(block.norm2(x))
            if self.dense:
                norm = getattr(self, f'norm_{i}')
                outs.append(norm(x).permute(0, 3, 1, 2))
            if stage[-1].downsample is not None:
                x = stage[-1].downsample(x)
        if self.dense:
            return outs
        return self.head(self.norm(x).mean(dim=(1, 2)))


def randomize(model, seed=0, offset_std=2.0):
    """Fill every parameter with seeded noise that keeps activations sane.

    Fresh weights would hide mistakes: biases would be zero, norms the
    identity and all offsets far below one token. Here offsets spread over
    several tokens (``offset_std``, in tokens) and leave the image at its
    borders, and no two parameters are alike.

    Returns:
        nn.Module: The same model.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(parameter, std, mean=0.0):
        values = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(values * std + mean)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = parameter.dim() == 1 and name.endswith('weight')
            if is_norm:
                noise(parameter, 0.2, mean=1.0)
            elif name.endswith('bias'):
                noise(parameter, 0.2)
            else:
                fan_in = parameter[0].numel()
                gain = offset_std if 'offset_layer' in name else 1.0
                noise(parameter, gain / fan_in**0.5)
    return model
