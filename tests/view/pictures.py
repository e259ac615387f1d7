"""Small pictures made by hand, so that layouts are tested without a graph."""

from __future__ import annotations

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
