"""ResNet-18, -34 and -50 (He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, 2016).

y = relu(f(x) + x): the addition hands the gradient on unchanged, a highway that the backward graph shows.  Weights have
torchvision's names.

graphc render examples/networks/resnet.py:ResNet34 --view joint --depth 2 -o resnet34.svg
"""

import graphc.nn.functional as F
from graphc import nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside the shortcut."""

    expansion = 1

    def __init__(self, channels, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = shortcut(channels, planes, stride)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1: the 3x3 convolution works on a quarter of the channels."""

    expansion = 4

    def __init__(self, channels, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = shortcut(channels, 4 * planes, stride)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.downsample(x))


def shortcut(channels, out, stride):
    """The image itself, or a 1x1 convolution where its size or channels change."""
    if stride == 1 and channels == out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))


class ResNet(nn.Module):
    """Images -> scores.

    block    BasicBlock or Bottleneck
    blocks   how many in each stage; every stage but the first halves the image and doubles the channels
    width    channels of the first stage, 64 in the paper
    stem     "imagenet": 7x7 with stride 2 and pooling; "small": 3x3, for images of a few pixels
    """

    def __init__(
        self, block=BasicBlock, blocks=(2, 2, 2, 2), classes=1000, width=64, channels=3, stem="imagenet"
    ):
        super().__init__()
        large = stem == "imagenet"
        self.conv1 = nn.Conv2d(
            channels, width, 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        self.stages, channels = len(blocks), width
        for number, count in enumerate(blocks):
            planes, layers = width * 2**number, []
            for position in range(count):
                stride = 2 if number > 0 and position == 0 else 1
                layers.append(block(channels, planes, stride))
                channels = planes * block.expansion
            self.add_module(f"layer{number + 1}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for number in range(self.stages):
            x = getattr(self, f"layer{number + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


def ResNet18(**choices):
    return ResNet(BasicBlock, (2, 2, 2, 2), **choices)


def ResNet34(**choices):
    return ResNet(BasicBlock, (3, 4, 6, 3), **choices)


def ResNet50(**choices):
    return ResNet(Bottleneck, (3, 4, 6, 3), **choices)


model = ResNet
inputs = {"x": "float32[N,3,224,224]"}
