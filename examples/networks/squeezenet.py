"""SqueezeNet 1.0 (Iandola et al., SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, 2016)."""

import graphc as torch
import graphc.nn.functional as F
from graphc import nn


class Fire(nn.Module):
    """Squeeze to few channels by 1x1, then expand by 1x1 and 3x3 side by side."""

    def __init__(self, channels, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1(x)), F.relu(self.expand3(x))], 1)


class SqueezeNet(nn.Module):
    """Colour images of 224x224 -> scores; the last convolution is the classifier.

    `width` scales the number of channels: 1 is the network of the paper.
    """

    def __init__(self, classes=1000, width=1.0):
        super().__init__()
        squeezes = [max(1, int(s * width)) for s in (16, 16, 32, 32, 48, 48, 64, 64)]
        channels = max(1, int(96 * width))
        layers = [nn.Conv2d(3, channels, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, stride=2, ceil_mode=True)]
        for number, squeeze in enumerate(squeezes, start=2):
            layers.append(Fire(channels, squeeze, 4 * squeeze))
            channels = 8 * squeeze
            if number in (4, 8):
                layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Conv2d(channels, classes, 1)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))

    def forward(self, x):
        x = self.dropout(self.features(x))
        return self.pool(F.relu(self.classifier(x))).flatten(1)


model = SqueezeNet
inputs = {"x": "float32[N,3,224,224]"}
