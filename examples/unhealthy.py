"""Networks that cannot learn, for pictures that say why.

graphc render examples/unhealthy.py:Vanishing --values --show norms,health -o vanishing.svg
"""

import numpy as np

import graphc
import graphc.nn.functional as F
from graphc import nn


@graphc.model(inputs={"x": "float32[N,16]"})
class Vanishing(nn.Module):
    """Sigmoids on small weights: each layer hands back a fraction of the gradient it gets."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 16) for _ in range(5)])
        for layer in self.layers:
            layer.weight.data = layer.weight.data * 0.3

    def forward(self, x):
        for layer in self.layers:
            x = F.sigmoid(layer(x))
        return x.mean()


@graphc.model(inputs={"x": "float32[N,16]"})
class Exploding(nn.Module):
    """Large weights without a normalization: each layer hands back a multiple of the gradient it gets."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 16) for _ in range(4)])
        for layer in self.layers:
            layer.weight.data = layer.weight.data * 40.0

    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return x.mean()


@graphc.model(inputs={"x": "float32[N,16]"})
class Dead(nn.Module):
    """A bias far below zero: no unit of the first layer ever fires, and its weights get no gradient."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(16, 8), nn.Linear(8, 4)
        self.fc1.bias.data = self.fc1.bias.data - 9.0

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x))).mean()


@graphc.model(inputs={"x": "float32[N,16]"})
class NotANumber(nn.Module):
    """Distances to the first sample: the loss is finite, but the root of its distance to itself has no derivative."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        h = self.fc(x)
        difference = h - h[:1]
        return np.sqrt((difference * difference).sum(1)).mean()
