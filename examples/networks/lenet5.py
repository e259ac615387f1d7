"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998).

The variant of the PyTorch tutorial is examples/lenet.py.

graphc compile examples/networks/lenet5.py -o build/lenet5
"""

import graphc.nn.functional as F
from graphc import nn


class LeNet5(nn.Module):
    """Grey images of 32x32 pixels -> scores of 10 classes; tanh and average pooling as in 1998.

    `width` scales the number of channels: 1 is the network of the paper.
    """

    def __init__(self, classes=10, width=1.0):
        super().__init__()
        c1, c3, c5, f6 = (max(1, int(c * width)) for c in (6, 16, 120, 84))
        self.c1 = nn.Conv2d(1, c1, 5)
        self.c3 = nn.Conv2d(c1, c3, 5)
        self.c5 = nn.Conv2d(c3, c5, 5)
        self.f6 = nn.Linear(c5, f6)
        self.output = nn.Linear(f6, classes)

    def forward(self, x):
        x = F.avg_pool2d(F.tanh(self.c1(x)), 2)  # 28x28 -> 14x14
        x = F.avg_pool2d(F.tanh(self.c3(x)), 2)  # 10x10 -> 5x5
        x = F.tanh(self.c5(x)).flatten(1)
        return self.output(F.tanh(self.f6(x)))


model = LeNet5
inputs = {"x": "float32[N,1,32,32]"}
