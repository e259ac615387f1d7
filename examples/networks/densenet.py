"""DenseNet-121 (Huang, Liu, van der Maaten and Weinberger, Densely Connected Convolutional Networks, 2017).

Each layer reads the outputs of all layers before it in its block, joined by channels.
"""

import graphc as torch
import graphc.nn.functional as F
from graphc import nn


class DenseLayer(nn.Module):
    """Normalise, 1x1, normalise, 3x3: `growth` new channels, joined to those that were there."""

    def __init__(self, channels, growth):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        new = self.conv1(F.relu(self.norm1(x)))
        new = self.conv2(F.relu(self.norm2(new)))
        return torch.cat([x, new], 1)


class Transition(nn.Module):
    """Half the channels, half the size."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x):
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """Colour images -> scores.

    blocks  layers in each block, (6, 12, 24, 16) in DenseNet-121
    growth  channels each layer adds, 32 in the paper
    """

    def __init__(self, blocks=(6, 12, 24, 16), growth=32, classes=1000):
        super().__init__()
        channels = 2 * growth
        self.conv0 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.norm0 = nn.BatchNorm2d(channels)
        layers = []
        for number, count in enumerate(blocks):
            if number > 0:
                layers.append(Transition(channels))
                channels //= 2
            for _ in range(count):
                layers.append(DenseLayer(channels, growth))
                channels += growth
        self.features = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(channels)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm0(self.conv0(x))), 3, stride=2, padding=1)
        x = F.relu(self.norm(self.features(x)))
        return self.classifier(self.pool(x).flatten(1))


model = DenseNet
inputs = {"x": "float32[N,3,224,224]"}
