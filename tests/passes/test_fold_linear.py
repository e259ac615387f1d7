"""Layers in a row are one, where that is right and where it is less work."""

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn
from graphc.frontends.python.tracer import trace_graph
from graphc.interpret import interpret
from graphc.pipeline import lower

EPS = float(np.finfo(np.float32).eps)


class Row(nn.Module):
    def __init__(self, sizes, bias=(True, True), activation=None):
        super().__init__()
        pairs = zip(sizes, sizes[1:])
        self.layers = nn.ModuleList([nn.Linear(a, b, bias=has) for (a, b), has in zip(pairs, bias)])
        self.activation = activation

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
            if self.activation is not None:
                x = self.activation(x)
        return x


def products(graph, numerics="default"):
    lowered = lower(graph, numerics=numerics).graph
    return sum(node.op.name == "matmul" for node in lowered.nodes), lowered


def traced(net, features):
    return trace_graph(net, {"x": f"float32[N,{features}]"})


@pytest.mark.parametrize("bias", [(False, False), (False, True), (True, False), (True, True)])
def test_two_layers_are_one(bias):
    net = Row((64, 32, 10), bias)
    graph = traced(net, 64)
    count, lowered = products(graph)
    assert count == 1 and products(graph, "strict")[0] == 2
    x = np.random.default_rng(0).normal(size=(7, 64)).astype(np.float32)
    (before,), (after,) = interpret(graph, [x]), interpret(lowered, [x])
    first, second = (np.abs(layer.weight.numpy().astype(np.float64)) for layer in net.layers)
    biases = [0.0 if layer.bias is None else np.abs(layer.bias.numpy()) for layer in net.layers]
    magnitude = (np.abs(x) @ first.T + biases[0]) @ second.T + biases[1]
    assert (np.abs(before - after) <= (64 + 32 + 4) * EPS * magnitude).all()


def test_three_layers_are_one():
    assert products(traced(Row((16, 8, 8, 4), (True,) * 3), 16))[0] == 1


def test_what_is_not_folded():
    assert products(traced(Row((64, 32, 10), activation=F.relu), 64))[0] == 2
    assert (
        products(traced(Row((64, 4, 64)), 64))[0] == 2
    )  # a bottleneck: the product would be 8 times the work
    net = Row((8, 8, 8))

    def both(x):
        between = net.layers[0](x)
        return net.layers[1](between), between

    assert products(graphc.trace(both, x="float32[N,8]"))[0] == 2


def test_parameters_that_are_trained_stay_two():
    joint = graphc.differentiate(traced(Row((64, 32, 10)), 64))
    assert {"grad.layers.0.weight", "grad.layers.1.weight"} <= set(joint.output_names)
    lowered = lower(joint, training=True).graph
    assert sum(n.op.name == "matmul" and n.provenance.role == "forward" for n in lowered.nodes) == 2
