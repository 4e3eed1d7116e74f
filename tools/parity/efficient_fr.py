"""The PyTorch twin of arcrun's `efficient_fr`: residual blocks of depthwise separable
convolutions with squeeze-and-excitation and adaptive pooling."""

import math

import torch
from torch import nn

DEFAULT = {"channels": [32, 64, 128, 256, 512], "depths": [1, 2, 2, 3, 2], "squeeze_excite": 0.25, "pool": 1}


class ConvBn(nn.Module):
    def __init__(self, c_in, c_out, kernel, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        return self.bn(self.conv(x))


class SqueezeExcite(nn.Module):
    def __init__(self, channels, ratio):
        super().__init__()
        hidden = max(8, math.floor(channels * ratio + 0.5))
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x):
        s = nn.functional.silu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.expand(s))


class Block(nn.Module):
    def __init__(self, c_in, c_out, stride, squeeze_excite):
        super().__init__()
        self.depthwise = ConvBn(c_in, c_in, 3, stride, groups=c_in)
        self.se = SqueezeExcite(c_in, squeeze_excite) if squeeze_excite > 0 else nn.Identity()
        self.pointwise = ConvBn(c_in, c_out, 1)
        same = stride == 1 and c_in == c_out
        self.skip = nn.Identity() if same else ConvBn(c_in, c_out, 1, stride)

    def forward(self, x):
        main = self.pointwise(self.se(nn.functional.silu(self.depthwise(x))))
        return nn.functional.silu(main + self.skip(x))


class EfficientFr(nn.Module):
    """Images [N, 3, H, W] to features [N, channels[-1] * pool * pool]."""

    def __init__(self, channels, depths, squeeze_excite, pool):
        super().__init__()
        self.stem = ConvBn(3, channels[0], 3, 2)
        stages, c_in = [], channels[0]
        for i, (c_out, depth) in enumerate(zip(channels, depths, strict=True)):
            blocks = []
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(Block(c_in, c_out, stride, squeeze_excite))
                c_in = c_out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(pool)
        self.features = channels[-1] * pool * pool

    def forward(self, x):
        x = self.stages(nn.functional.silu(self.stem(x)))
        return self.pool(x).flatten(1)
