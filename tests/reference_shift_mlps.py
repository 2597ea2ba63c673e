# Copyright (c) mmactive contributors. All rights reserved.
"""CycleMLP and AS-MLP in the formulations of the published code.

CycleMLP shifts tokens by ``torchvision.ops.deform_conv2d``, AS-MLP images by
padding, cutting them into chunks and rolling these. Written without a line of
``mmactive``; names and shapes of the parameters are the published ones. The
tests compare the backbones with them, the benchmark their speed.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import deform_conv2d

CYCLEMLP_B2 = dict(depths=(2, 3, 10, 3), dims=(64, 128, 320, 512))
ASMLP_T = dict(depths=(2, 2, 6, 2), dims=(96, 192, 384, 768))


class Mlp(nn.Module):
    """Two layers with GELU between them."""

    def __init__(self, layer, dim, hidden, out=None):
        super().__init__()
        self.fc1 = layer(dim, hidden)
        self.fc2 = layer(hidden, out or dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Conv(nn.Module):
    """A convolution under the name ``proj``."""

    def __init__(self, *args, **kwargs):
        super().__init__()
        self.proj = nn.Conv2d(*args, **kwargs)

    def forward(self, x):
        return self.proj(x)


class CycleFC(nn.Module):
    """A 1x1 deformable convolution with fixed offsets along one axis."""

    def __init__(self, dim, axis):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, dim, 1, 1))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.trunc_normal_(self.weight, std=0.02)
        offset = torch.zeros(1, 2 * dim, 1, 1)
        offset[0, axis::2, 0, 0] = (torch.arange(dim) + 1) % 3 - 1.0
        self.register_buffer('offset', offset)

    def forward(self, x):
        n, _, h, w = x.shape
        offset = self.offset.expand(n, -1, h, w)
        return deform_conv2d(x, offset, self.weight, self.bias)


class CycleMLPMixer(nn.Module):
    """Three branches of tokens (N, H, W, C), reweighted."""

    def __init__(self, dim):
        super().__init__()
        self.mlp_c = nn.Linear(dim, dim, bias=False)
        self.sfc_h = CycleFC(dim, axis=1)
        self.sfc_w = CycleFC(dim, axis=0)
        self.reweight = Mlp(nn.Linear, dim, dim // 4, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        n, _, _, dim = x.shape
        image = x.permute(0, 3, 1, 2)
        h = self.sfc_h(image).permute(0, 2, 3, 1)
        w = self.sfc_w(image).permute(0, 2, 3, 1)
        c = self.mlp_c(x)
        weights = self.reweight((h + w + c).mean(dim=(1, 2)))
        a, b, d = weights.view(n, 1, 1, dim, 3).softmax(-1).unbind(-1)
        return self.proj(h * a + w * b + c * d)


class CycleMLPBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = CycleMLPMixer(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(nn.Linear, dim, 4 * dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ReferenceCycleMLP(nn.Module):
    """The classifier, on images (N, 3, H, W)."""

    def __init__(self, depths, dims, num_classes=1000):
        super().__init__()
        self.patch_embed = Conv(3, dims[0], 7, stride=4, padding=2)
        self.network = nn.ModuleList()
        for i, (depth, dim) in enumerate(zip(depths, dims)):
            if i > 0:
                down = Conv(dims[i - 1], dim, 3, stride=2, padding=1)
                self.network.append(down)
            blocks = [CycleMLPBlock(dim) for _ in range(depth)]
            self.network.append(nn.Sequential(*blocks))
        self.norm = nn.LayerNorm(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, x):
        x = self.patch_embed(x).permute(0, 2, 3, 1)
        for module in self.network:
            if isinstance(module, Conv):
                x = module(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            else:
                x = module(x)
        return self.head(self.norm(x).mean(dim=(1, 2)))


class AxialShift(nn.Module):
    """AS-MLP's mixer of images (N, C, H, W), with shifts of five tokens."""

    def __init__(self, dim):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 1)
        self.conv2_1 = nn.Conv2d(dim, dim, 1)
        self.conv2_2 = nn.Conv2d(dim, dim, 1)
        self.conv3 = nn.Conv2d(dim, dim, 1)
        self.norm1 = nn.GroupNorm(1, dim)
        self.norm2 = nn.GroupNorm(1, dim)

    def forward(self, x):
        _, _, height, width = x.shape
        x = F.gelu(self.norm1(self.conv1(x)))
        chunks = F.pad(x, (2, 2, 2, 2)).chunk(5, 1)

        def shift(dim):
            rolled = [
                torch.roll(chunk, distance, dim)
                for chunk, distance in zip(chunks, range(-2, 3))
            ]
            x = torch.cat(rolled, 1)
            return x.narrow(2, 2, height).narrow(3, 2, width)

        x = F.gelu(self.conv2_1(shift(3))) + F.gelu(self.conv2_2(shift(2)))
        return self.conv3(self.norm2(x))


def conv1x1(dim, out):
    return nn.Conv2d(dim, out, 1)


class ASMLPBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1 = nn.GroupNorm(1, dim)
        self.axial_shift = AxialShift(dim)
        self.norm2 = nn.GroupNorm(1, dim)
        self.mlp = Mlp(conv1x1, dim, 4 * dim)

    def forward(self, x):
        x = x + self.axial_shift(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.GroupNorm(1, 4 * dim)
        self.reduction = nn.Conv2d(4 * dim, 2 * dim, 1, bias=False)

    def forward(self, x):
        parts = [x[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, 1)))


class ReferenceASMLP(nn.Module):
    """The classifier, on images (N, 3, H, W) of multiples of 32 pixels."""

    def __init__(self, depths, dims, num_classes=1000):
        super().__init__()
        self.patch_embed = Conv(3, dims[0], 4, stride=4)
        self.patch_embed.norm = nn.GroupNorm(1, dims[0])
        self.layers = nn.ModuleList()
        for i, (depth, dim) in enumerate(zip(depths, dims)):
            layer = nn.Module()
            layer.blocks = nn.Sequential(
                *(ASMLPBlock(dim) for _ in range(depth))
            )
            layer.downsample = (
                PatchMerging(dim) if i < len(dims) - 1 else nn.Identity()
            )
            self.layers.append(layer)
        self.norm = nn.GroupNorm(1, dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, x):
        x = self.patch_embed.norm(self.patch_embed(x))
        for layer in self.layers:
            x = layer.downsample(layer.blocks(x))
        return self.head(self.norm(x).mean(dim=(2, 3)))
