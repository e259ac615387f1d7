"""Values are called as the user's program calls them, and know their line and module."""

import textwrap

import pytest

import graphc
from graphc import nn
from graphc.frontends.python.tracer import trace


def load(text, tmp_path):
    file = tmp_path / "named.py"
    file.write_text(textwrap.dedent(text), "utf-8")
    names = {"__name__": "named"}
    exec(compile(file.read_text("utf-8"), str(file), "exec"), names)
    return names


PROGRAM = """
    import numpy as np
    from graphc import nn
    import graphc.nn.functional as F

    square = lambda t: t * t

    def helper(t):
        inner = np.exp(t)
        return inner + 1

    def f(x):
        y = 2 * x + 1
        a, b = np.tanh(y), np.sin(y)
        spread = np.var(y, axis=0)
        s = square(y)
        h = helper(a)
        total: object = (b +
                         h)
        if (w := total.sum()) is not None:
            total += s
        größe = total * w
        for _ in range(2):
            größe = größe + spread
        return np.cos(größe)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, t):
            out = self.fc(t)
            return F.relu(out)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(Block(), Block())
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            h = self.blocks(x)
            logits = self.head(h)
            return logits
"""


@pytest.fixture
def program(tmp_path):
    return load(PROGRAM, tmp_path)


def test_variables(program):
    graph = trace(program["f"], x="float64[4,3]")
    ops = {name: graph.by_name[name].node.op.name for name in ("y", "a", "b", "s", "h", "inner", "w")}
    assert ops == {"y": "add", "a": "tanh", "b": "sin", "s": "mul", "h": "add", "inner": "exp", "w": "sum"}
    assert graph.by_name["spread"].node.op.name == "div"
    assert [v.name for v in graph.values() if v.name.startswith("total")] == ["total", "total_2"]
    named = [n.provenance.variable for n in graph.nodes]
    assert named.count("größe") == 3
    assert all(
        n.provenance.variable == "" for n in graph.nodes if n.op.name in ("constant", "broadcast_to", "cos")
    )


def test_lines(program, tmp_path):
    graph = trace(program["f"], x="float64[4,3]")
    lines = (tmp_path / "named.py").read_text("utf-8").splitlines()
    for name, text in (
        ("y", "2 * x + 1"),
        ("a", "np.tanh(y)"),
        ("b", "np.sin(y)"),
        ("spread", "np.var(y, axis=0)"),
    ):
        span = graph.by_name[name].node.provenance.span
        assert lines[span.line - 1][span.column : span.end_column] == text


def test_modules(program):
    graph = trace(program["Net"](), x="float32[N,3]")
    assert [node.provenance.module for node in graph.nodes] == [
        "blocks.0.fc", "blocks.0", "blocks.1.fc", "blocks.1", "head",
    ]  # fmt: skip
    assert [node.name for node in graph.nodes] == [
        "blocks.0.out",
        "blocks.0.relu",
        "blocks.1.out",
        "h",
        "logits",
    ]
    assert [leaf.name for leaf in graph.parameters][:2] == ["blocks.0.fc.weight", "blocks.0.fc.bias"]
    assert graph.output_names == ("logits",)


def test_a_program_without_a_file_still_traces():
    names = {}
    exec("def f(x):\n    y = x + 1\n    return y * 2", names)
    graph = trace(names["f"], x="float32[3]")
    assert [node.op.name for node in graph.nodes] == [
        "constant",
        "broadcast_to",
        "add",
        "constant",
        "broadcast_to",
        "mul",
    ]


def test_lambdas_and_partials(tmp_path):
    from functools import partial

    graph = graphc.trace(partial(lambda a, x: a * x, 3.0), x="float64[2]")
    assert graph.name and graph.nodes[-1].op.name == "mul"


def test_a_module_that_nobody_assigned_is_named_after_its_class():
    class Net(nn.Module):
        def forward(self, x):
            return nn.ReLU()(x)

    assert trace(Net(), x="float32[3]").nodes[0].provenance.module == "ReLU"


def test_eval_is_what_a_trace_without_training_means():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    assert net.training
    assert [n.op.name for n in trace(net, x="float32[N,3]").nodes] == ["linear", "batch_norm"]
    assert net.training
