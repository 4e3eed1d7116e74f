"""The PyTorch twin of arcrun's `mbf`: InsightFace's MobileFaceNet, with the parameter names of its published
weights."""

from torch import nn

# channels within a block, at its output, blocks with a skip connection (none: one of stride 2)
STAGES = [(128, 128, 0), (128, 128, 4), (256, 256, 0), (256, 256, 6), (512, 256, 0), (256, 256, 2)]


class Layers(nn.Module):
    """Modules one after the other, below the name `layers`."""

    def __init__(self, *layers, add=False):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.add = add

    def forward(self, x):
        return x + self.layers(x) if self.add else self.layers(x)


def unit(c_in, c_out, kernel=1, stride=1, groups=1, padding=None, activated=True):
    padding = kernel // 2 if padding is None else padding
    parts = [nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(c_out)]
    return Layers(*parts, *([nn.PReLU(c_out)] if activated else []))


def block(c_in, wide, c_out, stride):
    parts = unit(c_in, wide), unit(wide, wide, 3, stride, wide), unit(wide, c_out, activated=False)
    return Layers(*parts, add=stride == 1)


class Mbf(nn.Module):
    """Images [N, 3, H, W] to features [N, features]; `kernel` is the size of the last maps."""

    def __init__(self, kernel=(7, 7), features=512):
        super().__init__()
        layers, c_in = [unit(3, 128, 3, 2), unit(128, 128, 3, groups=64)], 128
        for wide, c_out, repeats in STAGES:
            if repeats == 0:
                layers.append(block(c_in, wide, c_out, 2))
            else:
                layers.append(Layers(*(block(c_out, wide, c_out, 1) for _ in range(repeats))))
            c_in = c_out
        self.layers = nn.Sequential(*layers)
        self.conv_sep = unit(c_in, 512)
        pooling = unit(512, 512, tuple(kernel), groups=512, padding=0, activated=False)
        self.features = Layers(pooling, nn.Flatten(), nn.Linear(512, features, bias=False), nn.BatchNorm1d(features))

    def forward(self, x):
        return self.features(self.conv_sep(self.layers(x)))
