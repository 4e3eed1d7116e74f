"""The PyTorch twin of arcrun's `mobilefacenet`: table 1 of arXiv:1804.07573, with the parameter names of
the published weights."""

import torch
from torch import nn

TABLE = [(2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)]


def conv(c_in, c_out, kernel, stride=1, padding=0, groups=1):
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)


class ConvBn(nn.Module):
    def __init__(self, c_in, c_out, kernel, stride=1, padding=0, groups=1, activated=True):
        super().__init__()
        self.conv = conv(c_in, c_out, kernel, stride, padding, groups)
        self.bn = nn.BatchNorm2d(c_out)
        self.prelu = nn.PReLU(c_out) if activated else nn.Identity()

    def forward(self, x):
        return self.prelu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c_in, c_out, t, stride):
        super().__init__()
        wide = t * c_in
        self.add = stride == 1 and c_in == c_out
        self.conv = nn.Sequential(
            conv(c_in, wide, 1), nn.BatchNorm2d(wide), nn.PReLU(wide),
            conv(wide, wide, 3, stride, 1, wide), nn.BatchNorm2d(wide), nn.PReLU(wide),
            conv(wide, c_out, 1), nn.BatchNorm2d(c_out))

    def forward(self, x):
        return x + self.conv(x) if self.add else self.conv(x)


class MobileFaceNet(nn.Module):
    """Images [N, 3, H, W] to features [N, features]; `kernel` is the size of the last maps."""

    def __init__(self, kernel=(7, 7), features=128):
        super().__init__()
        self.conv1 = ConvBn(3, 64, 3, 2, 1)
        self.dw_conv1 = ConvBn(64, 64, 3, 1, 1, groups=64)
        blocks, c_in = [], 64
        for t, c, n, s in TABLE:
            for i in range(n):
                blocks.append(Bottleneck(c_in, c, t, s if i == 0 else 1))
                c_in = c
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = ConvBn(c_in, 512, 1)
        self.linear7 = ConvBn(512, 512, tuple(kernel), groups=512, activated=False)
        self.linear1 = ConvBn(512, features, 1, activated=False)
        self.features = features

    def forward(self, x):
        x = self.conv2(self.blocks(self.dw_conv1(self.conv1(x))))
        return torch.flatten(self.linear1(self.linear7(x)), 1)
