"""A randomly wired network (Xie, Kirillov, Girshick and He, Exploring Randomly Wired Neural Networks, 2019).

Any directed graph without cycles is a network: each node adds up what arrives, weighted by a learned gate for each
edge, then relu, a separable convolution and batch norm.
"""

import random

import graphc as torch
import graphc.nn.functional as F
from graphc import nn


def small_world(nodes, neighbours=4, rewired=0.75, seed=0):
    """Edges (i, j), i < j, of a random small-world graph (Watts and Strogatz, 1998).

    A ring in which each node knows its nearest neighbours; each edge is led elsewhere with probability `rewired`.
    """
    rng = random.Random(seed)
    edges = set()
    for step in range(1, neighbours // 2 + 1):
        for i in range(nodes):
            j = (i + step) % nodes
            if rng.random() < rewired:
                free = [k for k in range(nodes) if k != i and (min(i, k), max(i, k)) not in edges]
                j = rng.choice(free) if free else j
            edges.add((min(i, j), max(i, j)))
    return sorted(edges)


class Node(nn.Module):
    """Sum with gates, relu, depthwise 3x3, 1x1, batch norm."""

    def __init__(self, arriving, channels, out, stride=1):
        super().__init__()
        self.gates = nn.ModuleList([Gate() for _ in range(arriving)] if arriving > 1 else [])
        self.depthwise = nn.Conv2d(
            channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False
        )
        self.pointwise = nn.Conv2d(channels, out, 1, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, arrivals):
        total = arrivals[0] if len(arrivals) == 1 else sum(gate(x) for gate, x in zip(self.gates, arrivals))
        return self.bn(self.pointwise(self.depthwise(F.relu(total))))


class Gate(nn.Module):
    """x times a learned number in (0, 1)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x * F.sigmoid(self.weight)


class RandomStage(nn.Module):
    """A random graph as a layer; nodes nothing arrives at read the input, loose ends are averaged."""

    def __init__(self, channels, out, nodes=8, seed=0):
        super().__init__()
        edges = small_world(nodes, seed=seed)
        self.arrivals = [[i for i, j in edges if j == node] for node in range(nodes)]
        self.ends = [node for node in range(nodes) if not any(i == node for i, _ in edges)]
        self.nodes = nn.ModuleList(
            [
                Node(len(before), out if before else channels, out, stride=1 if before else 2)
                for before in self.arrivals
            ]
        )

    def forward(self, x):
        values = []
        for node, before in zip(self.nodes, self.arrivals):
            values.append(node([values[i] for i in before] if before else [x]))
        return sum(values[end] for end in self.ends) / len(self.ends)


class RandomlyWired(nn.Module):
    """Images -> scores; `seed` chooses the network."""

    def __init__(self, classes=10, channels=3, width=16, stages=2, nodes=8, seed=0):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.stages = nn.Sequential(
            *[RandomStage(width * 2**i, width * 2 ** (i + 1), nodes, seed + i) for i in range(stages)]
        )
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(width * 2**stages, classes)

    def forward(self, x):
        x = self.stages(self.bn(self.conv(x)))
        return self.fc(self.pool(F.relu(x)).flatten(1))


model = RandomlyWired
inputs = {"x": "float32[N,3,32,32]"}
