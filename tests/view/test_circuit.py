"""Circuits say the truth: values, gradients, local derivatives, products and sums, checked against other sources."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.api import graph_of
from graphc.autodiff import differentiate
from graphc.interpret import evaluate, interpret
from graphc.ir.graph import Graph
from graphc.ops import REGISTRY
from graphc.view import make_picture
from graphc.view.chain_rule import derivative_text
from graphc.view.circuit import suits
from graphc.view.numbers import number
from graphc.view.openings import open_primitives
from graphc.view.render_ir import Kind, Layout, Picture, Role, Text


def drawn(case: tuple[Graph, dict]) -> Picture:
    graph, inputs = case
    joint = differentiate(graph)
    return make_picture(joint, values=evaluate(joint, inputs))


def chips(picture: Picture) -> list[tuple[str, str]]:
    return [(n.text(Text.DERIVATIVE), n.text(Text.PRODUCT)) for n in picture.nodes if n.role is Role.CHIP]


def wires(picture: Picture) -> dict[str, tuple[str | None, str | None]]:
    return {n.label: (n.text(Text.VALUE), n.text(Text.GRADIENT)) for n in picture.nodes if n.text(Text.VALUE)}


def test_the_first_circuit_of_the_notes(graphs) -> None:
    picture = drawn(graphs.cs231n())
    assert picture.layout is Layout.CIRCUIT
    assert wires(picture) == {
        "x": ("−2", "∇ −4"),
        "y": ("5", "∇ −4"),
        "z": ("−4", "∇ 3"),
        "q": ("3", "∇ −4"),
        "f": ("−12", "∇ 1"),
    }
    assert chips(picture) == [
        ("∂q/∂x = 1", "← −4 · 1 = −4"),
        ("∂q/∂y = 1", "← −4 · 1 = −4"),
        ("∂f/∂z = q = 3", "← 1 · 3 = 3"),
        ("∂f/∂q = z = −4", "← 1 · (−4) = −4"),
    ]


def test_the_second_circuit_of_the_notes(graphs) -> None:
    """The gradients printed in the notes, to two decimals."""
    got = {n.label: n.text(Text.GRADIENT) for n in drawn(graphs.neuron()).nodes if n.role is Role.INPUT}
    notes = {"w0": -0.20, "x0": 0.39, "w1": -0.39, "x1": -0.59, "w2": 0.20}
    for name, expected in notes.items():
        shown = float(str(got[name]).removeprefix("∇ ").replace("−", "-"))
        assert abs(shown - expected) <= 0.005 + 1e-12


def test_where_paths_meet_the_sum_is_shown(graphs) -> None:
    picture = drawn(graphs.fork())
    assert wires(picture)["a"] == ("−12", "∇ 3 + 0 + (−4) = −1")
    assert wires(picture)["x"] == ("3", "∇ 4 + (−12) = −8")
    forks = [n.id for n in picture.nodes if n.role is Role.ACCUMULATE]
    assert len(forks) == 3
    assert [sum(e.source == f for e in picture.edges) for f in sorted(forks)] == [3, 2, 2]


def test_without_numbers_it_is_symbolic(graphs) -> None:
    picture = make_picture(differentiate(graphs.cs231n()[0]))
    assert ("∂f/∂q = z", "← ∇f · z") in chips(picture)
    assert not any(line.kind is Text.VALUE for node in picture.nodes for line in node.lines)


def test_forward_alone_has_no_gradients(graphs) -> None:
    graph, inputs = graphs.cs231n()
    for picture in (make_picture(graph), make_picture(differentiate(graph), "forward")):
        kinds = {line.kind for node in picture.nodes for line in node.lines}
        assert not kinds & {Text.GRADIENT, Text.DERIVATIVE, Text.PRODUCT}
        assert not any(n.role in (Role.CHIP, Role.ACCUMULATE) for n in picture.nodes)


def test_what_has_no_gradient_says_so_and_not_zero(graphs) -> None:
    graph, inputs = graphs.scalar("partly", {"x": 2.0, "y": 3.0}, lambda b, x, y: x * y)
    joint = differentiate(graph, ["x"])
    assert wires(make_picture(joint, values=evaluate(joint, inputs)))["y"] == ("3", "∇ —")


def test_tensors_and_large_graphs_are_not_circuits(graphs) -> None:
    def long_chain(builder, x):
        for _ in range(70):
            x = x + x
        return x

    assert not suits(graphs.mlp())
    big = graphs.scalar("chain", {"x": 1.0}, long_chain)[0]
    drawn_in_rows = make_picture(big)
    assert drawn_in_rows.layout is Layout.ROWS
    assert drawn_in_rows.notices == ("more than 60 ops: drawn in rows instead of as a circuit",)


@pytest.mark.parametrize("style", ["auto", "layers"])
def test_second_derivatives_are_one_program_without_false_products(graphs, style) -> None:
    graph, inputs = graphs.neuron()
    first = differentiate(graph, ["w0"])
    second = differentiate(first, ["w0", "x0"], of="grad.w0")
    picture = make_picture(second, values=evaluate(second, inputs), style=style)
    assert picture.notices == ("derivatives of derivatives: everything is drawn as one program",)
    assert not any(n.role in (Role.CHIP, Role.GRADIENT) for n in picture.nodes)
    assert [n.label for n in picture.nodes if n.role is Role.OUTPUT] == list(second.output_names)


UNARY = ["neg", "exp", "tanh", "sigmoid", "sin", "cos", "relu", "sqrt", "log", "abs"]
BINARY = ["add", "sub", "mul", "div", "maximum", "minimum"]
step = st.one_of(
    st.tuples(st.sampled_from(UNARY), st.integers(0, 30), st.just(0)),
    st.tuples(st.sampled_from(BINARY), st.integers(0, 30), st.integers(0, 30)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(step, min_size=1, max_size=10), st.lists(st.floats(0.3, 2.0), min_size=2, max_size=2))
def test_every_number_of_a_random_circuit(graphs, steps: list, numbers: list[float]) -> None:
    def formula(builder, x, y):
        values = [x, y]
        for name, i, j in steps:
            operands = [values[i % len(values)], values[j % len(values)]][: 1 if name in UNARY else 2]
            values.append(REGISTRY[name](*operands))
        return sum(values[2:], values[0] * values[1])

    graph, inputs = graphs.scalar("random", dict(zip("xy", numbers, strict=True)), formula)
    joint = differentiate(graph)
    with np.errstate(all="ignore"):
        values = evaluate(joint, inputs)
        picture = make_picture(joint, values=values)
    shown = [n for n in picture.nodes if n.text(Text.VALUE) is not None]
    forward = [v for v in joint.values() if v.node is None or v.node.provenance.role == "forward"]
    assert sorted(n.text(Text.VALUE) for n in shown) == sorted(number(values[v]) for v in forward)
    by_id = {n.id: n for n in picture.nodes}
    for value in forward:
        gradient = joint.by_name.get(joint.gradients.get(value.name, ""))
        (node,) = [n for n in shown if n.id == f"v-{value.name}"]
        text = node.text(Text.GRADIENT)
        if gradient is not None and text is not None:
            assert text.endswith(number(values[gradient]))
        sums = re.fullmatch(r"∇ (.+) = .+", text or "")
        if sums:  # as many terms as chips behind the fork
            (fork,) = [
                e.target
                for e in picture.edges
                if e.source == node.id and by_id[e.target].role is Role.ACCUMULATE
            ]
            assert len(sums[1].split(" + ")) == sum(e.source == fork for e in picture.edges)


def shown_number(text: str) -> float:
    return float(text.replace("−", "-").replace("∞", "inf").strip("()"))


@pytest.mark.parametrize("name", ["cs231n", "neuron", "fork"])
def test_products_lead_to_gradients_that_finite_differences_confirm(graphs, name: str) -> None:
    graph, inputs = getattr(graphs, name)()
    joint = differentiate(graph)
    values = evaluate(joint, inputs)
    picture = make_picture(joint, values=values)
    by_id = {n.id: n for n in picture.nodes}
    after = {e.source: [f.target for f in picture.edges if f.source == e.source] for e in picture.edges}
    for node in picture.nodes:
        if node.text(Text.GRADIENT) is None or node.role is Role.LOSS:
            continue
        chain = [t for t in after.get(node.id, ()) if by_id[t].role in (Role.CHIP, Role.ACCUMULATE)]
        chain = [u for t in chain for u in (after[t] if by_id[t].role is Role.ACCUMULATE else [t])]
        total = 0.0
        for member in chain:
            upstream, local, product = re.fullmatch(
                r"← (.+) · (.+) = (.+)", by_id[member].text(Text.PRODUCT)
            ).groups()
            exact = shown_number(upstream) * shown_number(local)
            assert shown_number(product) == pytest.approx(exact, rel=2e-4)  # three roundings to 4 digits
            assert shown_number(by_id[member].text(Text.DERIVATIVE).rpartition("= ")[2]) == shown_number(
                local
            )
            total += shown_number(product)
        gradient = shown_number(re.split("∇ |= ", node.text(Text.GRADIENT))[-1])
        assert total == pytest.approx(gradient, rel=1e-3, abs=1e-3)
    step_ = 1e-6
    for leaf in inputs:
        moved = [interpret(graph, inputs | {leaf: inputs[leaf] + h})[0] for h in (step_, -step_)]
        central = float(moved[0] - moved[1]) / (2 * step_)
        exact = float(values[joint.value(joint.gradients[leaf])])
        assert abs(central - exact) <= 1e-7 * max(1, abs(exact))  # O(h²) + eps/h


def test_edges_lead_through_chips(graphs) -> None:
    picture = drawn(graphs.cs231n())
    by_id = {n.id: n for n in picture.nodes}
    for edge in picture.edges:
        ends = (by_id[edge.source].role, by_id[edge.target].role)
        assert (edge.kind is Kind.WIRE) == (ends[1] is Role.CHIP)


@pytest.mark.parametrize(
    ("name", "position", "names", "text"),
    [
        ("mul", 0, ["q", "z", "f"], "z"),
        ("div", 1, ["a", "b", "c"], "−a/b²"),
        ("exp", 0, ["x", "y"], "y"),
        ("sub", 1, ["x", "y", "z"], "−1"),
        ("mul", 0, ["x", "−2", "y"], "(−2)"),
        ("tanh", 0, ["a", "h"], "1 − h²"),
    ],
)
def test_derivative_text(name: str, position: int, names: list[str], text: str) -> None:
    assert derivative_text(REGISTRY[name], position, names) == text


def test_every_declared_derivative_can_be_written() -> None:
    for op in REGISTRY.values():
        for position in op.derivative:
            assert derivative_text(op, position, ["a", "b", "c", "d", "e"])


def test_finite_differences_confirm_or_contradict(graphs) -> None:
    for name in ("cs231n", "neuron", "fork"):
        graph, inputs = getattr(graphs, name)()
        joint = differentiate(graph)
        picture = make_picture(joint, values=evaluate(joint, inputs), show=("check",))
        marks = [n.text(Text.GRADIENT) for n in picture.nodes if n.role is Role.INPUT]
        assert len(marks) == len(inputs) and all(str(mark).endswith(" ✓") for mark in marks)
        assert picture.legend[-1].sample == "check"
    joint = differentiate(graphs.cs231n()[0])
    values = evaluate(joint, graphs.cs231n()[1])
    wrong = values | {joint.value(joint.gradients["z"]): np.asarray(3.01)}
    picture = make_picture(joint, values=wrong, show=("check",))
    marks = {n.label: n.text(Text.GRADIENT) for n in picture.nodes if n.role is Role.INPUT}
    assert marks["z"] == "∇ 3.01 ✗ 3" and marks["x"] == "∇ −4 ✓"


def test_a_kink_is_not_called_a_match(graphs) -> None:
    graph, inputs = graphs.scalar("kink", {"x": 0.0}, lambda b, x: REGISTRY["relu"](x))
    joint = differentiate(graph)
    picture = make_picture(joint, values=evaluate(joint, inputs), show=("check",))
    (mark,) = [n.text(Text.GRADIENT) for n in picture.nodes if n.role is Role.INPUT]
    assert mark == "∇ 0 ✗ 0.5"


def test_constants_stand_in_the_gates_that_read_them(graphs) -> None:
    picture = drawn(graphs.neuron())
    assert [n.label for n in picture.nodes if n.role is Role.OP] == [
        "×",
        "×",
        "+",
        "+",
        "×−1",
        "exp",
        "+1",
        "1/x",
    ]
    assert not any(n.role is Role.CONSTANT for n in picture.nodes)
    alone = graphs.scalar("alone", {"x": 2.0}, lambda b, x: (3.0 - x) / (x - 4.0))
    assert [n.label for n in drawn(alone).nodes if n.role is Role.OP] == ["3−x", "−4", "÷"]


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_a_primitive_opens_to_gates_of_the_same_value_and_gradient(graphs, name: str) -> None:
    graph, inputs = graphs.scalar("one", {"x": 0.7}, lambda b, x: REGISTRY[name](x))
    closed, opened = drawn((graph, inputs)), drawn((open_primitives(graph, [name]), inputs))
    ends = [
        {n.label: n.lines for n in p.nodes if n.role in (Role.INPUT, Role.LOSS)} for p in (closed, opened)
    ]
    assert ends[0] == ends[1]
    gates = {n.label for n in opened.nodes if n.role is Role.OP}
    assert gates == {"sigmoid": {"×−1", "exp", "+1", "1/x"}, "tanh": {"×2", "exp", "−1", "+1", "÷"}}[name]
    assert drawn((open_primitives(graph, ["exp"]), inputs)) == closed


def test_a_result_without_a_name_is_called_f() -> None:
    graph = graph_of(lambda x, y: x * y, {"x": "float64[]", "y": "float64[]"})
    assert [n.label for n in make_picture(differentiate(graph)).nodes if n.role is Role.LOSS] == ["f"]
    taken = graph_of(lambda f: f * f, {"f": "float64[]"})
    assert [n.label for n in make_picture(differentiate(taken)).nodes if n.role is Role.LOSS] == ["output"]
