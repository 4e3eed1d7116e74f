"""The PyTorch twin of arcrun's `embedding_2d`: the LeNet++ of Wen et al. 2016, table 1, without its last
layer, for colour images of any size."""

from torch import nn


class Layer(nn.Module):
    def __init__(self, c_in, c_out, batch_norm):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 5, padding=2, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(c_out) if batch_norm else nn.Identity()
        self.prelu = nn.PReLU(c_out)

    def forward(self, x):
        return self.prelu(self.bn(self.conv(x)))


class Embedding2d(nn.Module):
    """Images [N, 3, H, W] to features [N, 128 * 3 * 3]."""

    features = 128 * 3 * 3

    def __init__(self, batch_norm=False):
        super().__init__()
        stages, c_in = [], 3
        for c_out in (32, 64, 128):
            stages.append(nn.Sequential(Layer(c_in, c_out, batch_norm), Layer(c_out, c_out, batch_norm)))
            c_in = c_out
        self.stages = nn.Sequential(*stages)

    def forward(self, x):
        for stage in self.stages:
            x = nn.functional.max_pool2d(stage(x), 2)
        return nn.functional.adaptive_avg_pool2d(x, 3).flatten(1)
