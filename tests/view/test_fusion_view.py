"""The fusion view: every op in its kernel, every crossing value with its bytes."""

import re

import pytest

from graphc.autodiff import differentiate
from graphc.ir.builder import Builder
from graphc.ir.partition import Kernel, Partition, singly
from graphc.ir.types import parse_type
from graphc.ops import REGISTRY
from graphc.plan import make_plan
from graphc.view import draw, make_picture, to_dot
from graphc.view.fusion import badge
from graphc.view.render_ir import Kind, Layout, Role


def two_kernels() -> Partition:
    """tanh(x @ w + 1) * 2: a contraction with its epilogue, then a loop."""
    with Builder("small") as builder:
        x = builder.leaf("input", "x", parse_type("f32[N,8]"))
        w = builder.leaf("parameter", "w", parse_type("f32[8,4]"))
        h = REGISTRY["matmul"](x, w) + 1.0
        y = REGISTRY["exp"](REGISTRY["tanh"](h) * 2.0)
    graph = builder.finish([y], ["y"])
    by_op = {node.op.name: node for node in graph.nodes}
    split = next(i for i, node in enumerate(graph.nodes) if node.op.name == "tanh")
    first, second = graph.nodes[:split], graph.nodes[split:]
    return Partition(
        graph,
        (
            Kernel("k0", "contraction", by_op["matmul"], first, (x, w), (h,)),
            Kernel("k1", "loop", None, second, (h,), (y,)),
        ),
    )


def test_hulls_badges_and_traffic() -> None:
    partition = two_kernels()
    picture = make_picture(partition, "fusion")
    assert picture.layout is Layout.FLOW
    assert [c.label for c in picture.clusters] == [
        "k0 contraction: 2 ops, 2 reads, 1 write",
        "k1 loop: 3 ops, 1 read, 1 write",
    ]
    ops = [n for n in picture.nodes if n.role is Role.OP]
    assert [n.label for n in ops] == ["matmul", "add", "tanh", "mul", "exp"]
    assert [n.lines[-1].text for n in ops] == ["k0", "k0", "k1", "k1", "k1"]  # not by colour alone
    crossing = [(e.source, e.target, e.label) for e in picture.edges if e.kind is Kind.TRAFFIC]
    assert ("o-k0.add", "o-k1.tanh", "16·N bytes") in crossing
    assert len(crossing) == 3  # x, between the kernels, y
    assert "◆ w" in [line.text for line in ops[0].lines]
    assert sum(e.kind is Kind.DATA for e in picture.edges) == 3
    assert picture.notices == ("5 ops in 2 kernels",)


def test_each_op_stands_in_its_kernel(graphs) -> None:
    partition = singly(differentiate(graphs.mlp()))
    picture = make_picture(partition, "fusion")
    shown = {n.lines[-1].text.split()[0] for n in picture.nodes if n.role in (Role.OP, Role.GRADIENT)}
    assert shown == {kernel.name for kernel in partition.kernels}
    assert make_picture(make_plan(partition), "fusion") == picture
    ends = [n.label for n in picture.nodes if n.role is Role.OUTPUT]
    noted = [line.text[2:] for n in picture.nodes for line in n.lines if line.text.startswith("▣ ")]
    assert sorted(ends + noted) == sorted(partition.graph.output_names)


def test_too_many_ops_become_one_box_a_kernel(graphs) -> None:
    partition = singly(differentiate(graphs.residual(12)))
    picture = make_picture(partition, "fusion")
    assert [n.label for n in picture.nodes if n.role in (Role.OP, Role.GRADIENT)] == [
        k.name for k in partition.kernels
    ]
    assert picture.notices[0].endswith("one box a kernel")


@pytest.mark.skipif(not draw.working_engines(), reason="no layout engine on this machine")
def test_it_can_be_drawn() -> None:
    svg = draw.draw(to_dot(make_picture(two_kernels(), "fusion")), "svg").decode()
    assert re.search(r"16·N(&#160;| )bytes", svg)


def test_badge() -> None:
    assert badge(two_kernels().kernels[1]) == "k1 loop: 3 ops, 1 read, 1 write"


def test_times_stand_at_every_kernel_and_add_up() -> None:
    picture = make_picture(two_kernels(), "fusion", times={"k0": 3e-6, "k1": 1e-6})
    assert [c.label.rpartition("write, ")[2] for c in picture.clusters] == ["3 µs, 75 %", "1 µs, 25 %"]
    assert [step.text.splitlines()[0].rpartition(", ")[2] for step in picture.steps] == ["75 %", "25 %"]


def test_the_story_is_that_of_the_kernels_in_order() -> None:
    partition = two_kernels()
    picture = make_picture(partition, "fusion")
    assert [step.text.split()[0] for step in picture.steps] == [kernel.name for kernel in partition.kernels]
    assert "reads x, w" in picture.steps[0].text
