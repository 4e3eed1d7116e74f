"""The PyTorch twin of arcrun's `iresnet18` to `iresnet200`: InsightFace's residual network of face recognition,
with the parameter names of its published weights."""

from torch import nn

DEPTHS = {"iresnet18": (2, 2, 2, 2), "iresnet34": (3, 4, 6, 3), "iresnet50": (3, 4, 14, 3),
          "iresnet100": (3, 13, 30, 3), "iresnet200": (6, 26, 60, 6)}


def conv(c_in, c_out, kernel, stride=1):
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)


class Block(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = conv(c_in, c_out, 3)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.prelu = nn.PReLU(c_out)
        self.conv2 = conv(c_out, c_out, 3, stride)
        self.bn3 = nn.BatchNorm2d(c_out)
        same = stride == 1 and c_in == c_out
        self.downsample = None if same else nn.Sequential(conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))

    def forward(self, x):
        skip = x if self.downsample is None else self.downsample(x)
        return skip + self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))


class IResNet(nn.Module):
    """Images [N, 3, H, W] to features [N, features]; `grid` is the size of the last maps."""

    def __init__(self, depths, grid=(7, 7), features=512, dropout=0.0):
        super().__init__()
        self.conv1 = conv(3, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        c_in = 64
        for stage, depth in enumerate(depths):
            blocks = []
            for i in range(depth):
                blocks.append(Block(c_in, 64 << stage, 2 if i == 0 else 1))
                c_in = 64 << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn2 = nn.BatchNorm2d(c_in)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(c_in * grid[0] * grid[1], features)
        self.features = nn.BatchNorm1d(features)
        self.features.weight.requires_grad = False

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.features(self.fc(self.dropout(self.bn2(x).flatten(1))))
