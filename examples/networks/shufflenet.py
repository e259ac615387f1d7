"""ShuffleNet (Zhang, Zhou, Lin and Sun, ShuffleNet: An Extremely Efficient Convolutional Neural Network, 2018).

1x1 convolutions in groups are cheap but keep the groups apart; shuffling the channels between them mixes the groups.
"""

import graphc as torch
import graphc.nn.functional as F
from graphc import nn


def shuffle(x, groups):
    """Channels (g, c) in the order (c, g)."""
    n, channels, height, width = x.shape
    x = x.view(n, groups, channels // groups, height, width)
    return x.transpose(1, 2).reshape(n, channels, height, width)


class Unit(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1, beside the image itself.

    With stride 2 the image is averaged and joined by channels instead of added.
    """

    def __init__(self, channels, out, groups, stride, first=False):
        super().__init__()
        middle, new = out // 4, out - channels if stride == 2 else out
        outer = 1 if first else groups  # the very first 1x1 has too few channels for groups
        self.groups, self.stride = outer, stride
        self.conv1 = nn.Conv2d(channels, middle, 1, groups=outer, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride=stride, padding=1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, new, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(new)

    def forward(self, x):
        out = shuffle(F.relu(self.bn1(self.conv1(x))), self.groups)
        out = self.bn3(self.conv3(self.bn2(self.conv2(out))))
        if self.stride == 2:
            return F.relu(torch.cat([F.avg_pool2d(x, 3, stride=2, padding=1), out], 1))
        return F.relu(x + out)


class ShuffleNet(nn.Module):
    """Colour images -> scores.

    groups    of the 1x1 convolutions, 3 here
    channels  of the first stage, 240 for three groups in table 1 of the paper; each stage doubles them
    blocks    units in each stage
    """

    def __init__(self, classes=1000, groups=3, channels=240, blocks=(4, 8, 4), stem=24):
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        layers, before = [], stem
        for number, count in enumerate(blocks):
            out = channels * 2**number
            for position in range(count):
                first = number == 0 and position == 0
                layers.append(Unit(before, out, groups, stride=2 if position == 0 else 1, first=first))
                before = out
        self.stages = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        return self.fc(self.pool(self.stages(x)).flatten(1))


model = ShuffleNet
inputs = {"x": "float32[N,3,224,224]"}
