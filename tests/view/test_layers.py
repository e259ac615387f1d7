"""Mirrored rows: everything is shown or accounted for, and the gradient mirrors the forward pass."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.autodiff import differentiate
from graphc.errors import UsageError
from graphc.interpret import evaluate
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Provenance
from graphc.ir.types import parse_type
from graphc.ops import REGISTRY
from graphc.view import Picture, make_picture
from graphc.view.hidden import is_hidden
from graphc.view.layers import BUDGET
from graphc.view.notes import statistics
from graphc.view.render_ir import Kind, Role, Text
from graphc.view.units import Units


def check_mirror(picture: Picture) -> None:
    """What has to hold for every joint picture."""
    row = {member: number for number, members in enumerate(picture.rows) for member in members}
    by_id = {n.id: n for n in picture.nodes}
    assert row.keys() == by_id.keys()
    for node in picture.nodes:
        if node.id.startswith("g-") and node.id[2:] in by_id:
            assert row[node.id] == row[node.id[2:]]
    for edge in picture.edges:
        ends = by_id[edge.source], by_id[edge.target]
        if edge.kind is Kind.DATA:
            assert row[edge.source] <= row[edge.target] and not any(e.backward for e in ends)
        elif edge.kind is Kind.GRADIENT:
            assert row[edge.source] >= row[edge.target] and ends[1].backward
    for node in picture.nodes:  # an ⊕ has several terms and one result
        if node.role is Role.ACCUMULATE:
            assert sum(e.target == node.id for e in picture.edges) > 1
            assert sum(e.source == node.id for e in picture.edges) == 1


def shown_ops(graph: Graph) -> int:
    return sum(n.provenance.role == "forward" and not is_hidden(n) for n in graph.nodes)


def lines(picture: Picture, identifier: str) -> list[str]:
    (node,) = [n for n in picture.nodes if n.id == identifier]
    return [line.text for line in node.lines]


def test_mlp(graphs) -> None:
    graph = graphs.mlp()
    picture = make_picture(differentiate(graph), show=("shapes", "params", "flops"))
    check_mirror(picture)
    assert sum(n.role is Role.OP for n in picture.nodes) == shown_ops(graph)
    assert lines(picture, "o-fc1.matmul") == ["float32[N,32]", "2.048 k parameters", "4.096 k·N FLOP"]
    assert lines(picture, "p-o-fc1.matmul") == ["weight", "float32[32,64]"]
    assert lines(picture, "g-p-o-fc1.matmul") == ["∇weight", "float32[32,64]"]  # dW has the shape of W
    assert lines(picture, "g-o-fc2.matmul") == ["float32[N,10]", "uses its input, weight"]
    assert lines(picture, "g-o-act.relu") == ["act", "float32[N,32]", "uses its output"]
    assert lines(picture, "g-o-sub") == ["d", "float32[N,10]", "passes the gradient on"]
    assert lines(picture, "o-mul--2") == ["float32[N,10]", "· × 0.5", "10·N FLOP"]
    assert "g-v-x" not in {n.id for n in picture.nodes}  # its gradient was not asked for
    assert [n.label for n in picture.nodes if n.role is Role.LOSS] == ["loss"]


def test_a_residual_fork_is_added(graphs) -> None:
    graph = graphs.residual(2)
    picture = make_picture(differentiate(graph, ["x", *(v.name for v in graph.parameters)]))
    check_mirror(picture)
    junctions = [n.id for n in picture.nodes if n.role is Role.ACCUMULATE]
    assert len(junctions) == 2
    for junction in junctions:
        terms = [e.source for e in picture.edges if e.target == junction]
        assert len(terms) == 2 and any(t.endswith("add") for t in terms)


def test_values_become_statistics(graphs) -> None:
    graph = graphs.mlp()
    rng = np.random.default_rng(0)
    arrays = {
        v.name: rng.normal(size=[2 if d not in (64, 10, 32) else d for d in v.shape]).astype("f4")
        for v in graph.leaves
    }
    joint = differentiate(graph)
    values = evaluate(joint, {n: arrays[n] for n in ("x", "target")}, arrays)
    picture = make_picture(joint, values=values)
    weight_gradient = values[joint.value(joint.gradients["fc1.weight"])]
    assert lines(picture, "g-p-o-fc1.matmul")[-1] == statistics(weight_gradient, gradient=True)
    assert lines(picture, "o-act.relu")[-1].startswith("mean ")


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((3, 3)), "∅ all zero"),
        (np.array([1.0, np.nan, np.inf]), "⚠ 1 NaN, 1 Inf"),
        (np.zeros((0, 4)), "empty"),
        (np.array(2.5), "2.5"),
        (np.array([3, -4]), "[3, −4]"),
        (np.arange(-30.0, 31.0), "mean 0, max |·| 30"),
    ],
)
def test_unhealthy_tensors_are_marked(array: np.ndarray, text: str) -> None:
    assert statistics(array) == text


def test_views(graphs) -> None:
    joint = differentiate(graphs.mlp())
    forward, backward = make_picture(joint, "forward"), make_picture(joint, "backward")
    both = make_picture(joint, "joint")
    assert make_picture(joint) == both
    assert forward == make_picture(graphs.mlp())
    assert not any(n.backward for n in forward.nodes)
    assert all(n.backward for n in backward.nodes)
    assert {n.id for n in forward.nodes} | {n.id for n in backward.nodes} == {n.id for n in both.nodes}
    order = [row[0] for row in backward.rows]
    assert order.index("g-o-fc2.matmul") < order.index("g-o-fc1.matmul")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"view": "joint"}, "no backward nodes"),
        ({"view": "backward"}, "no backward nodes"),
        ({"view": "sideways"}, "no view 'sideways'"),
        ({"view": "fusion"}, "fused graph"),
        ({"view": "memory"}, "memory"),
        ({"show": ("shapes", "colours")}, "cannot show 'colours'"),
        ({"depth": 0}, "depth 0"),
        ({"style": "circuit"}, "numbers"),
    ],
)
def test_what_does_not_fit_is_refused(graphs, arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_picture(graphs.mlp(), **arguments)


def test_depth_folds_modules(graphs) -> None:
    graph = graphs.residual(3)
    joint = differentiate(graph)
    picture = make_picture(joint, depth=1)
    check_mirror(picture)
    assert [n.label for n in picture.nodes if n.role is Role.MODULE] == ["blocks", "head"]
    assert "24 ops" in lines(picture, "m-blocks")
    assert picture.notices == ("26 of 28 forward ops are folded into 2 boxes at depth 1",)
    deeper = make_picture(joint, depth=2)
    assert [n.label for n in deeper.nodes if n.role is Role.MODULE] == ["blocks.0", "blocks.1", "blocks.2"]
    check_mirror(deeper)


def test_many_blocks_stay_readable_and_the_count_is_honest(graphs) -> None:
    graph = graphs.residual(40)
    picture = make_picture(differentiate(graph))
    check_mirror(picture)
    assert len(picture.nodes) <= BUDGET
    (folded,) = [n for n in picture.nodes if n.role is Role.MODULE]
    assert folded.label == "blocks.1 … 39"
    assert "+39 more like the one above, 8 ops each" in [line.text for line in folded.lines]
    opened = sum(n.role is Role.OP for n in picture.nodes)
    assert opened + 39 * 8 == shown_ops(graph)


def test_only_equal_modules_are_folded_together(graphs) -> None:
    def blocks(widths: list[int]) -> Graph:
        with Builder("blocks") as builder:
            h = builder.leaf("input", "x", parse_type("f32[N,8]"))
            for number, width in enumerate(widths):
                with builder.at(Provenance(module=f"stage.{number}")):
                    w = builder.leaf("parameter", f"stage.{number}.w", parse_type(f"f32[{width},8]"))
                    h = REGISTRY["matmul"](REGISTRY["tanh"](REGISTRY["matmul"](h, w, transpose_w=True)), w)
        return builder.finish([h], ["y"])

    def folded(graph: Graph) -> list[str]:
        return [unit.label for unit in Units(graph, gradients=False, once=2).all if unit.repeats]

    assert folded(blocks([8, 8, 8, 8])) == ["stage.1 … 3"]
    assert folded(blocks([8, 8, 4, 4, 8])) == ["stage.1", "stage.3"]
    assert folded(blocks([8, 4, 8, 4])) == []


def test_a_module_called_twice_is_two_boxes(graphs) -> None:
    with Builder("shared") as builder:
        x = builder.leaf("input", "x", parse_type("f32[N,8]"))
        w = builder.leaf("parameter", "cell.w", parse_type("f32[8,8]"))
        h = x
        for _ in range(2):
            with builder.at(Provenance(module="cell")):
                h = REGISTRY["tanh"](REGISTRY["matmul"](h, w))
            h = REGISTRY["exp"](h)
        loss = REGISTRY["sum"](h, axes=(0, 1))
    joint = differentiate(builder.finish([loss], ["loss"]))
    folded = make_picture(joint, depth=1)
    assert [n.label for n in folded.nodes if n.role is Role.MODULE] == ["cell", "cell (call 2)"]
    opened = make_picture(joint)
    check_mirror(opened)
    assert lines(opened, "p-o-cell.matmul--2")[0] == "w (shared)"
    (junction,) = [n.id for n in opened.nodes if n.role is Role.ACCUMULATE]
    assert {e.source for e in opened.edges if e.target == junction} == {
        "g-o-cell.matmul",
        "g-o-cell.matmul--2",
    }
    assert [e.target for e in opened.edges if e.source == junction] == ["g-p-o-cell.matmul"]


def test_unusual_graphs(graphs) -> None:
    with Builder("same") as builder:
        x = builder.leaf("input", "x", parse_type("f32[N]"))
        builder.leaf("parameter", "unused", parse_type("f32[3]"))
    nothing = builder.finish([x], ["y"])
    assert [n.label for n in make_picture(nothing).nodes] == ["x", "y"]
    assert make_picture(nothing).notices == ("not read by anything: unused",)
    with Builder("constant") as builder:
        y = builder.constant(3.0, parse_type("f32").dtype, (2,))
    assert len(make_picture(builder.finish([y], ["y"])).nodes) == 2
    with Builder("empty") as builder:
        pass
    assert make_picture(builder.finish([], [])).nodes == ()
    with Builder("several") as builder:
        x = builder.leaf("input", "x", parse_type("f32[N,3]"))
        a, b = REGISTRY["tanh"](x), REGISTRY["exp"](x)
    picture = make_picture(builder.finish([a, b, a], ["a", "b", "again"]))
    assert [n.label for n in picture.nodes if n.role is Role.OUTPUT] == ["a", "again", "b"]


def test_a_parameter_no_path_leads_to(graphs) -> None:
    with Builder("apart") as builder:
        x = builder.leaf("input", "x", parse_type("f32[3]"))
        w = builder.leaf("parameter", "w", parse_type("f32[3]"))
        y, other = REGISTRY["sum"](x * x, axes=(0,)), REGISTRY["tanh"](w)
    joint = differentiate(builder.finish([y, other], ["y", "other"]), ["w", "x"], of="y")
    picture = make_picture(joint)
    assert "0: no path from the loss" in lines(picture, "g-p-o-tanh")


def test_a_tensor_output_starts_from_a_given_cotangent(graphs) -> None:
    with Builder("vector") as builder:
        x = builder.leaf("input", "x", parse_type("f32[N,3]"))
        with builder.at(Provenance(variable="y")):
            y = REGISTRY["tanh"](x)
    picture = make_picture(differentiate(builder.finish([y], ["y"])))
    check_mirror(picture)
    (seed,) = [n for n in picture.nodes if n.role is Role.SEED]
    assert seed.text(Text.NOTE) == "given as cotangent.y"
    assert [n.label for n in picture.nodes if n.role is Role.INPUT] == ["x"]


OPS = ["tanh", "exp", "relu", "add", "mul", "sub", "maximum"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(OPS), st.integers(0, 20), st.integers(0, 20), st.sampled_from("abc")),
        min_size=1,
        max_size=14,
    ),
    st.sampled_from([None, 1]),
)
def test_random_graphs(steps: list, depth: int | None) -> None:
    with Builder("random") as builder:
        values = [
            builder.leaf("input", "x", parse_type("f32[N,4]")),
            builder.leaf("parameter", "w", parse_type("f32[4]")),
        ]
        values[1] = builder.broadcast(values[1], values[0].shape)
        for name, i, j, module in steps:
            with builder.at(Provenance(module=module)):
                op = REGISTRY[name]
                two = name in ("add", "mul", "sub", "maximum")
                values.append(op(*[values[k % len(values)] for k in (i, j)[: 1 + two]]))
        loss = REGISTRY["sum"](sum(values[1:], values[0]), axes=(0, 1))
    graph = builder.finish([loss], ["loss"])
    joint = differentiate(graph, ["x", "w"])
    picture = make_picture(joint, depth=depth)
    check_mirror(picture)
    assert Picture.from_json(picture.to_json()) == picture
    units = Units(joint, gradients=True, depth=depth)
    assert sum(len(unit.nodes) for unit in units.all) == shown_ops(joint)  # none is lost, none counted twice
    drawn = [n for n in picture.nodes if n.role in (Role.OP, Role.MODULE)]
    assert [n.id for n in drawn] == [unit.id for unit in units.all]
    sums = {v for v in units.sums if v.node is not None}
    mirrored = {node for unit in units.all for node in unit.backward}
    for node in joint.nodes:  # every backward node stands in one box, an ⊕, or is a constant
        if node.provenance.role == "backward" and node.op.name != "constant":
            assert (node in mirrored) != (node.outputs[0] in sums)


def test_the_rule_of_each_gradient_and_the_time_of_each_kernel(graphs) -> None:
    joint = differentiate(graphs.mlp())
    kernels = {"fc1.matmul": ("k0", 2e-6), "fc1.add": ("k0", 2e-6), "d_fc1.matmul.matmul_2": ("k7", 3e-6)}
    assert kernels.keys() <= joint.by_name.keys()
    picture = make_picture(joint, show=("rule", "time"), kernels=kernels)
    assert lines(picture, "o-fc1.matmul") == ["2 µs (k0)"]  # a kernel's time stands in one box only
    assert lines(picture, "o-fc1.add") == ["in k0"]
    assert lines(picture, "g-o-fc1.matmul") == [
        "uses its input",
        "∇fc1.weight = ∇fc1.matmulᵀ · x",
        "3 µs (k7)",
    ]
    assert picture.notices == ("5 µs in 2 kernels",)


def test_gradients_from_the_same_sides_meet_in_one_sum() -> None:
    with Builder("shared") as builder:
        x = builder.leaf("input", "x", parse_type("f32[N,8]"))
        weight = builder.leaf("parameter", "weight", parse_type("f32[8,8]"))
        bias = builder.leaf("parameter", "bias", parse_type("f32[8]"))
        for _ in range(3):
            x = REGISTRY["linear"](x, weight, bias)
        loss = REGISTRY["sum"](x, axes=(0, 1))
    picture = make_picture(differentiate(builder.finish([loss], ["loss"])))
    check_mirror(picture)
    (sum_,) = [n.id for n in picture.nodes if n.role is Role.ACCUMULATE]
    assert sum(e.target == sum_ for e in picture.edges) == 3
