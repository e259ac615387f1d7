"""Multi-layer perceptrons of any depth and width, with the three heads of the lectures.

graphc render examples/networks/mlp.py --view joint -o mlp.svg
"""

import graphc.nn.functional as F
from graphc import nn


class MLP(nn.Module):
    """Fully connected layers of the given sizes, [64, 32, 10] being a 2-layer network.

    activation  "relu", "sigmoid" or "tanh", after every layer but the last
    head        "classes": scores for softmax cross-entropy; "binary": one probability; "regression": the numbers
    """

    def __init__(self, sizes=(64, 32, 10), activation="relu", head="classes"):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])])
        self.activation = {"relu": F.relu, "sigmoid": F.sigmoid, "tanh": F.tanh}[activation]
        self.head = head

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        x = self.layers[-1](x)
        return F.sigmoid(x) if self.head == "binary" else x


class Collapsed(nn.Module):
    """Why a non-linearity: without one, two layers are one matrix, W2·W1, and `graphc explain` shows it.

    graphc explain examples/networks/mlp.py:Collapsed
    """

    def __init__(self, features=64, hidden=32, classes=10):
        super().__init__()
        self.fc1 = nn.Linear(features, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, classes, bias=False)

    def forward(self, x):
        return self.fc2(self.fc1(x))


model = MLP
inputs = {"x": "float32[N,64]"}
