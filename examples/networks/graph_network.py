"""Graph convolutional network: each node averages over its neighbours, then all share one linear map.

Kipf and Welling, Semi-supervised classification with graph convolutional networks, 2017.
"""

import graphc as torch
import graphc.nn.functional as F
from graphc import nn


class GraphConvolution(nn.Module):
    """x[N, nodes, features] and edges a[N, nodes, nodes], 0 or 1 -> D^-1/2 (A + I) D^-1/2 · x · wᵀ + b."""

    def __init__(self, features, out):
        super().__init__()
        self.linear = nn.Linear(features, out)

    def forward(self, x, a):
        degree = a.sum(dim=-1, keepdim=True) + 1  # every node is its own neighbour
        root = degree.sqrt()
        x = self.linear(x) / root
        return (a @ x + x) / root


class GraphNetwork(nn.Module):
    """Graphs [N, nodes, features + nodes], features beside edges -> scores [N, classes] for the whole graph."""

    def __init__(self, features=3, width=16, classes=2):
        super().__init__()
        self.features = features
        self.conv1 = GraphConvolution(features, width)
        self.conv2 = GraphConvolution(width, width)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x):
        x, a = x[:, :, : self.features], x[:, :, self.features :]
        x = F.relu(self.conv1(x, a))
        x = F.relu(self.conv2(x, a))
        return self.head(torch.cat([x.mean(dim=1), x.amax(dim=1)], 1))


model = GraphNetwork
inputs = {"x": "float32[N,6,9]"}
