"""Training steps on blocked images, in float64: every new parameter against the interpreter."""

import numpy as np
import pytest

import graphc.nn.functional as F
from graphc import nn, optim
from graphc.backends.llvm.executable import compile_plan, native_plan
from graphc.interpret import interpret
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.pipeline import lower
from graphc.plan.layout import Blocked
from graphc.training import loss_graph, stabilized, step_graph

TOLERANCE = 1e-9  # relative to the largest update, in float64: thousands of operations of 1.1e-16 each


class Residual(nn.Module):
    """Batch norm, strides, a shortcut with a window of one, pooling that must know the position of its maxima."""

    def __init__(self, inputs=3, width=16, stride=2, pool=True, drop=0.0):
        super().__init__()
        self.stem = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.pool = pool
        self.drop = nn.Dropout(drop) if drop else None
        self.a = nn.Conv2d(width, 2 * width, 3, stride=stride, padding=1)
        self.b = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.short = nn.Conv2d(width, 2 * width, 1, stride=stride)
        self.last = nn.Linear(2 * width, 4)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        if self.pool:
            x = F.max_pool2d(x, 3, 2, 1)
        inner = F.relu(self.a(x))
        inner = inner if self.drop is None else self.drop(inner)
        x = F.relu(self.b(inner) + self.short(x))
        return self.last(x.mean((2, 3)))


MODELS = {
    "blocks": lambda: Residual(),
    "odd channels": lambda: Residual(3, 17),
    "stride 3": lambda: Residual(1, 16, 3, pool=False),
    "wide input": lambda: Residual(20, 24, 1),
    "dropout": lambda: Residual(16, 16, 2, drop=0.25),
}


@pytest.mark.parametrize("name", MODELS)
def test_step(name: str) -> None:
    nn.init.manual_seed(3)
    model = MODELS[name]()
    inputs = model.stem.weight.shape[1]
    model.train()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    types = {"x": f"float32[N,{inputs},12,11]"}, {"y": "int64[N]"}
    forward, updates = loss_graph(model, F.cross_entropy, *types, dims=None)
    step = step_graph(stabilized(forward).graph, optimizer, updates)
    data = {
        key: np.asarray(a, np.float64) if a.dtype == np.float32 else a for key, a in step.graph.data.items()
    }
    wide = parse_graph(print_graph(step.graph).replace("f32", "f64")).with_(data=data)
    lowered = lower(wide, training=True)
    executable = compile_plan(native_plan(lowered.partition, donate=step.donate))
    assert any(isinstance(layout, Blocked) for layout in executable.plan.layouts.values())
    graph, weights = lowered.graph, executable.weights()
    function = executable.load(weights=weights)
    rng = np.random.default_rng(5)
    given = {
        "x": rng.normal(size=(5, inputs, 12, 11)),
        "y": rng.integers(0, 4, 5),
        "lr": 0.1,
        "step": 1.0,
        "seed": 7,
    }
    arrays = [np.asarray(given[v.name], v.dtype.numpy) for v in graph.inputs]
    right = dict(zip(graph.output_names, interpret(graph, arrays), strict=True))
    loss = function(*arrays)
    assert abs(float(loss) - float(right["loss"])) <= TOLERANCE * abs(float(right["loss"]))
    replaced = {leaf: output for output, leaf in step.donate.items()}
    seen = 0
    for piece in executable.module.pieces:
        if piece.packing is None and piece.name in replaced:
            leaf, wanted = graph.by_name[piece.name], right[replaced[piece.name]]
            found = (
                weights[piece.offset : piece.offset + piece.size].view(leaf.dtype.numpy).reshape(leaf.shape)
            )
            moved = np.abs(wanted - graph.data[piece.name]).max()
            assert np.abs(found - wanted).max() <= TOLERANCE * max(moved, np.abs(wanted).max() * 1e-3)
            seen += 1
    assert seen == len(replaced)
