"""GoogLeNet (Szegedy et al., Going Deeper with Convolutions, 2015), without the auxiliary classifiers.

An inception module looks at the image through windows of several sizes at once; the branches are joined by channels.
In the backward graph the gradients of the branches add up.
"""

import graphc as torch
import graphc.nn.functional as F
from graphc import nn


class Inception(nn.Module):
    """1x1, 3x3, 5x5 and pooling side by side; 1x1 convolutions make the others cheap."""

    def __init__(self, channels, ones, reduce3, threes, reduce5, fives, pooled):
        super().__init__()
        self.one = nn.Conv2d(channels, ones, 1)
        self.reduce3 = nn.Conv2d(channels, reduce3, 1)
        self.three = nn.Conv2d(reduce3, threes, 3, padding=1)
        self.reduce5 = nn.Conv2d(channels, reduce5, 1)
        self.five = nn.Conv2d(reduce5, fives, 5, padding=2)
        self.pooled = nn.Conv2d(channels, pooled, 1)
        self.channels = ones + threes + fives + pooled

    def forward(self, x):
        one = F.relu(self.one(x))
        three = F.relu(self.three(F.relu(self.reduce3(x))))
        five = F.relu(self.five(F.relu(self.reduce5(x))))
        pooled = F.relu(self.pooled(F.max_pool2d(x, 3, stride=1, padding=1)))
        return torch.cat([one, three, five, pooled], 1)


# Channels of each module as in table 1 of the paper; "pool" halves the image.
MODULES = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    "pool",
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    "pool",
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


class GoogLeNet(nn.Module):
    """Colour images -> scores.

    width    scales the number of channels: 1 is the network of the paper
    modules  the rows of table 1, or fewer
    """

    def __init__(self, classes=1000, width=1.0, modules=MODULES):
        super().__init__()

        def scaled(channels):
            return max(1, int(channels * width))

        first, second = scaled(64), scaled(192)
        self.conv1 = nn.Conv2d(3, first, 7, stride=2, padding=3)
        self.norm1 = nn.LocalResponseNorm(5)
        self.reduce = nn.Conv2d(first, first, 1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.norm2 = nn.LocalResponseNorm(5)
        layers, channels = [], second
        for row in modules:
            if row == "pool":
                layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
                continue
            layers.append(Inception(channels, *(scaled(c) for c in row)))
            channels = layers[-1].channels
        self.modules_in_a_row = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.norm1(F.max_pool2d(F.relu(self.conv1(x)), 3, stride=2, ceil_mode=True))
        x = self.norm2(F.relu(self.conv2(F.relu(self.reduce(x)))))
        x = self.modules_in_a_row(F.max_pool2d(x, 3, stride=2, ceil_mode=True))
        return self.fc(self.dropout(self.pool(x).flatten(1)))


model = GoogLeNet
inputs = {"x": "float32[N,3,224,224]"}
