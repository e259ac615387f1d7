"""Small pictures and graphs for the tests of this folder, handed out by the fixtures `pictures` and `graphs`."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Provenance
from graphc.ir.types import parse_type
from graphc.ops import REGISTRY
from graphc.view.render_ir import Cluster, Edge, Kind, Layout, Line, Node, Picture, Role, Text, legend_for


def wire(name: str, value: str, gradient: str, role: Role = Role.VALUE) -> Node:
    return Node(f"v-{name}", role, name, (Line(Text.VALUE, value), Line(Text.GRADIENT, f"∇ {gradient}")))


def chip(name: str, derivative: str, product: str) -> Node:
    return Node(f"c-{name}", Role.CHIP, "", (Line(Text.DERIVATIVE, derivative), Line(Text.PRODUCT, product)))


def circuit() -> Picture:
    """The first circuit of the CS231n notes: f = (x + y) z at x = -2, y = 5, z = -4."""
    nodes = (
        wire("x", "−2", "−4", Role.INPUT),
        wire("y", "5", "−4", Role.INPUT),
        wire("z", "−4", "3", Role.INPUT),
        chip("x", "∂q/∂x = 1", "← −4 · 1 = −4"),
        chip("y", "∂q/∂y = 1", "← −4 · 1 = −4"),
        Node("o-add", Role.OP, "+"),
        wire("q", "3", "−4"),
        chip("q", "∂f/∂q = z = −4", "← 1 · −4 = −4"),
        chip("z", "∂f/∂z = q = 3", "← 1 · 3 = 3"),
        Node("o-mul", Role.OP, "×"),
        wire("f", "−12", "1", Role.LOSS),
    )
    wires = [Edge(f"v-{n}", f"c-{n}", Kind.WIRE) for n in "xyqz"]
    data = [
        ("c-x", "o-add"),
        ("c-y", "o-add"),
        ("o-add", "v-q"),
        ("c-q", "o-mul"),
        ("c-z", "o-mul"),
        ("o-mul", "v-f"),
    ]
    edges = (*wires, *(Edge(a, b) for a, b in data))
    return Picture("f = (x + y) · z", Layout.CIRCUIT, nodes, edges, legend=legend_for(nodes, edges))


LENET = (
    ("conv1", "conv2d", "float32[N,6,24,24]", "float32[6,1,5,5]"),
    ("", "relu", "float32[N,6,24,24]", ""),
    ("", "max_pool2d", "float32[N,6,12,12]", ""),
    ("conv2", "conv2d", "float32[N,16,8,8]", "float32[16,6,5,5]"),
    ("", "relu", "float32[N,16,8,8]", ""),
    ("", "max_pool2d", "float32[N,16,4,4]", ""),
    ("", "flatten", "float32[N,256]", ""),
    ("fc1", "linear", "float32[N,120]", "float32[120,256]"),
    ("", "relu", "float32[N,120]", ""),
    ("fc2", "linear", "float32[N,84]", "float32[84,120]"),
    ("", "relu", "float32[N,84]", ""),
    ("fc3", "linear", "float32[N,10]", "float32[10,84]"),
    ("", "cross_entropy", "float32[]", ""),
)


def ladder(
    layers: tuple[tuple[str, str, str, str], ...] = LENET, skips: tuple[tuple[int, int], ...] = ()
) -> Picture:
    """A mirrored picture of a chain of layers, with additional forward edges `skips` (from, to)."""
    nodes = [Node("v-x", Role.INPUT, "x", (Line(Text.TYPE, "float32[N,1,28,28]"),))]
    nodes += [Node("g-v-x", Role.GRADIENT, "∇x", (Line(Text.TYPE, "float32[N,1,28,28]"),), backward=True)]
    edges: list[Edge] = []
    rows = [("v-x", "g-v-x")]
    clusters: list[Cluster] = []
    before = "v-x"
    for number, (module, op, shape, weight) in enumerate(layers):
        forward, row = f"o-{op}-{number}", []
        inside = f"m-{module}" if module else ""
        if module:
            clusters += [Cluster(inside, module), Cluster(f"g-{inside}", f"∇ {module}", backward=True)]
        if weight:
            lines = (Line(Text.TYPE, f"weight {weight}"),)
            nodes.append(Node(f"p-{number}", Role.PARAMETER, module, lines, inside))
            edges.append(Edge(f"p-{number}", forward))
            row.append(f"p-{number}")
        nodes.append(Node(forward, Role.OP, op, (Line(Text.TYPE, shape),), inside))
        backward = f"g-{forward}"
        nodes.append(
            Node(
                backward,
                Role.GRADIENT,
                f"∇{op}",
                (Line(Text.TYPE, shape),),
                f"g-{inside}" if inside else "",
                True,
            )
        )
        row += [forward, backward]
        edges += [Edge(before, forward), Edge(backward, f"g-{before}", Kind.GRADIENT)]
        edges.append(Edge(forward, backward, Kind.SAVED))
        if weight:
            lines = (Line(Text.TYPE, f"∇weight {weight}"),)
            nodes.append(Node(f"g-p-{number}", Role.GRADIENT, f"∇{module}", lines, f"g-{inside}", True))
            edges.append(Edge(backward, f"g-p-{number}", Kind.GRADIENT))
            row.append(f"g-p-{number}")
        rows.append(tuple(row))
        before = forward
    ops = [row[1] if row[0].startswith("p-") else row[0] for row in rows]
    edges += [Edge(ops[a], ops[b]) for a, b in skips]
    edges += [Edge(f"g-{ops[b]}", f"g-{ops[a]}", Kind.GRADIENT) for a, b in skips]
    return Picture(
        "LeNet, forward and backward",
        Layout.ROWS,
        tuple(nodes),
        tuple(edges),
        tuple(clusters),
        tuple(rows),
        legend_for(tuple(nodes), tuple(edges)),
    )


# ---- graphs ----------------------------------------------------------------------------------------


def scalar(name: str, arguments: dict[str, float], formula: object) -> tuple[Graph, dict[str, np.ndarray]]:
    """A graph of numbers, and its inputs."""
    assert callable(formula)
    with Builder(name) as builder:
        leaves = [builder.leaf("input", n, parse_type("f64[]")) for n in arguments]
        result = formula(builder, *leaves)
    return builder.finish([result], ["f"]), {n: np.asarray(v) for n, v in arguments.items()}


def named(builder: Builder, name: str):
    return builder.at(Provenance(variable=name))


def cs231n() -> tuple[Graph, dict[str, np.ndarray]]:
    def formula(builder, x, y, z):
        with named(builder, "q"):
            q = x + y
        with named(builder, "f"):
            return q * z

    return scalar("cs231n", {"x": -2.0, "y": 5.0, "z": -4.0}, formula)


def neuron() -> tuple[Graph, dict[str, np.ndarray]]:
    """The second circuit of the notes: a sigmoid neuron."""
    arguments = {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0}
    return scalar(
        "neuron",
        arguments,
        lambda b, w0, x0, w1, x1, w2: 1.0 / (1.0 + REGISTRY["exp"](-(w0 * x0 + w1 * x1 + w2))),
    )


def fork() -> tuple[Graph, dict[str, np.ndarray]]:
    def formula(builder, x, y):
        with named(builder, "a"):
            a = x * y
        return a * x + REGISTRY["maximum"](a, y) * a

    return scalar("fork", {"x": 3.0, "y": -4.0}, formula)


def linear(builder: Builder, path: str, x, inputs: int, outputs: int):
    weight = builder.leaf("parameter", f"{path}.weight", parse_type(f"f32[{outputs},{inputs}]"))
    bias = builder.leaf("parameter", f"{path}.bias", parse_type(f"f32[{outputs}]"))
    with builder.at(Provenance(module=path)):
        return REGISTRY["matmul"](x, weight, transpose_w=True) + bias


def mlp() -> Graph:
    with Builder("mlp") as builder:
        x = builder.leaf("input", "x", parse_type("f32[N,64]"))
        target = builder.leaf("input", "target", parse_type("f32[N,10]"))
        h = linear(builder, "fc1", x, 64, 32)
        with builder.at(Provenance(module="act")):
            h = REGISTRY["relu"](h)
        h = linear(builder, "fc2", h, 32, 10)
        with named(builder, "d"):
            d = h - target
        loss = REGISTRY["sum"](d * d * 0.5, axes=(0, 1))
    return builder.finish([loss], ["loss"])


def residual(blocks: int = 2) -> Graph:
    with Builder("residual") as builder:
        h = builder.leaf("input", "x", parse_type("f32[N,64]"))
        for number in range(blocks):
            before = h
            for part in ("a", "b"):
                path = f"blocks.{number}.{part}"
                h = linear(builder, path, h, 64, 64)
                with builder.at(Provenance(module=path)):
                    h = REGISTRY["relu"](h)
            with builder.at(Provenance(module=f"blocks.{number}")):
                h = REGISTRY["relu"](h + before)
        h = linear(builder, "head", h, 64, 10)
        loss = REGISTRY["sum"](h * h, axes=(0, 1))
    return builder.finish([loss], ["loss"])


@pytest.fixture(scope="session")
def pictures() -> SimpleNamespace:
    return SimpleNamespace(circuit=circuit, ladder=ladder)


@pytest.fixture(scope="session")
def graphs() -> SimpleNamespace:
    return SimpleNamespace(cs231n=cs231n, neuron=neuron, fork=fork, mlp=mlp, residual=residual, scalar=scalar)
