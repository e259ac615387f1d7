"""The models that examples/ does not have, written once: read with graphc's imports they are graphc's, with PyTorch's
they are PyTorch's (`sources.py`).
"""

import graphc.nn.functional as F
from graphc import nn


class Sequence(nn.Module):
    """An LSTM along x[steps, 1, features]; all hidden states."""

    def __init__(self, features, hidden):
        super().__init__()
        self.lstm = nn.LSTM(features, hidden)

    def forward(self, x):
        states, _ = self.lstm(x)
        return states


class Product(nn.Module):
    """x @ w with a constant w."""

    def __init__(self, inner, columns):
        super().__init__()
        self.proj = nn.Linear(inner, columns, bias=False)

    def forward(self, x):
        return self.proj(x)


class TwoLayers(nn.Module):
    """The two-layer network that is trained in about twenty lines of NumPy, examples/programs/two_layer_net.py."""

    def __init__(self, features, hidden, outputs):
        super().__init__()
        self.fc1 = nn.Linear(features, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, outputs, bias=False)

    def forward(self, x):
        return self.fc2(F.sigmoid(self.fc1(x)))


def squares(prediction, target):
    """Sum of squared differences."""
    return ((prediction - target) ** 2).sum()
