"""Temporal convolutional network: causal convolutions whose reach doubles from block to block.

Bai, Kolter and Koltun, An empirical evaluation of generic convolutional and recurrent networks for sequence modeling,
2018.  Causal: the output at a step depends on this and earlier steps only, since all padding is on the left.
"""

import graphc.nn.functional as F
from graphc import nn


class Causal(nn.Module):
    """A 1-D convolution that sees `kernel` steps, `dilation` apart, the last of them now."""

    def __init__(self, channels, out, kernel, dilation):
        super().__init__()
        self.left = (kernel - 1) * dilation
        self.conv = nn.Conv1d(channels, out, kernel, dilation=dilation)

    def forward(self, x):
        return self.conv(F.pad(x, (self.left, 0)))


class Block(nn.Module):
    """Two causal convolutions beside a shortcut."""

    def __init__(self, channels, out, kernel, dilation):
        super().__init__()
        self.conv1 = Causal(channels, out, kernel, dilation)
        self.conv2 = Causal(out, out, kernel, dilation)
        self.shortcut = nn.Conv1d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x):
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class TCN(nn.Module):
    """Sequences [N, features, L] -> scores [N, classes] at the last step.

    It sees 1 + 2·(kernel - 1)·(2^blocks - 1) steps: 125 here.
    """

    def __init__(self, features=2, width=16, classes=2, blocks=5, kernel=3):
        super().__init__()
        widths = [features] + [width] * blocks
        self.blocks = nn.Sequential(*[Block(widths[i], widths[i + 1], kernel, 2**i) for i in range(blocks)])
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.blocks(x)[:, :, -1])


model = TCN
inputs = {"x": "float32[N,2,64]"}
