"""The memory map shows the plan, and is a check of it: no two boxes overlap."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.autodiff import differentiate
from graphc.errors import UsageError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Provenance
from graphc.ir.partition import singly
from graphc.ir.types import parse_type
from graphc.ops import REGISTRY
from graphc.plan import make_plan
from graphc.plan.plan import Plan
from graphc.view import THEMES, Picture, draw, render, to_svg
from graphc.view.map_dot import map_dot
from graphc.view.memory_map import buffer_id, memory_map
from graphc.view.theme import DEFAULT

SVG = "{http://www.w3.org/2000/svg}"


def plan_of(graph: Graph) -> Plan:
    return make_plan(singly(differentiate(graph)))


def buffers(svg: str) -> list[tuple[str, float, float, float, float]]:
    """Name, left, top, right, bottom of each box."""
    found = []
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        if group.get("class") == "node buffer":
            rect = group.find(f"{SVG}rect")
            assert rect is not None
            x, y, w, h = (float(rect.get(k, "nan")) for k in ("x", "y", "width", "height"))
            found.append((group.get("id", ""), x, y, x + w, y + h))
    return found


def check_boxes(plan: Plan, svg: str) -> None:
    boxes = buffers(svg)
    assert len(boxes) == sum(b.size > 0 for b in plan.buffers)
    for i, (a, *p) in enumerate(boxes):
        assert p[0] < p[2] and p[1] < p[3]
        for b, *q in boxes[i + 1 :]:
            apart = p[2] <= q[0] + 0.02 or q[2] <= p[0] + 0.02 or p[3] <= q[1] + 0.02 or q[3] <= p[1] + 0.02
            assert apart, f"{a} and {b} overlap"


@pytest.mark.parametrize("make", ["mlp", "residual"])
def test_no_two_boxes_overlap(graphs, make: str) -> None:
    plan = plan_of(getattr(graphs, make)())
    check_boxes(plan, memory_map(plan))


def test_a_wrong_plan_is_seen(graphs) -> None:
    plan = plan_of(graphs.mlp())
    svg = memory_map(plan)
    for buffer in plan.buffers:
        buffer.offset = 0
    with pytest.raises(AssertionError, match="overlap"):
        check_boxes(plan, memory_map(plan))
    assert memory_map(plan) != svg


def test_what_it_says(graphs) -> None:
    plan = plan_of(graphs.mlp())
    svg = memory_map(plan)
    text = [t.text for t in ET.fromstring(svg).iter(f"{SVG}text")]
    assert plan.verdict in text
    assert "grows with N: 448 B for each of N" in text
    assert "constant size: 64 B" in text
    assert "k0 matmul" in text and "backward →" in text
    assert any("fc1.matmul → fc1.add" in str(t) for t in text)
    kept = [
        g.get("id") for g in ET.fromstring(svg).iter(f"{SVG}g") if any(r.get("class") == "kept" for r in g)
    ]
    assert "b-fc1.matmul" in kept


def test_live_bytes_reach_the_bound(graphs) -> None:
    """The tallest bar of the strip is the lower bound, against the arena's line."""
    plan = plan_of(graphs.residual(3))
    root = ET.fromstring(memory_map(plan))
    bars = [float(r.get("height", 0)) for r in root.iter(f"{SVG}rect") if r.get("class") == "live"]
    sample = bars[: len(plan.order) + 1]
    assert max(sample) == pytest.approx(56 * plan.bound[0] / plan.sample_bytes, abs=0.01)


def test_text_stays_inside_of_its_box(graphs) -> None:
    svg = memory_map(plan_of(graphs.residual(6)))
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        for text in group.findall(f"{SVG}text"):
            assert rect is not None and text.text
            width = len(text.text) * 0.62 * float(text.get("font-size", 0))
            assert (
                float(text.get("x", 0)) + width <= float(rect.get("x", 0)) + float(rect.get("width", 0)) + 1
            )
            assert float(text.get("y", 0)) <= float(rect.get("y", 0)) + float(rect.get("height", 0))


def test_an_empty_arena(graphs) -> None:
    with Builder("one") as builder:
        x = builder.leaf("input", "x", parse_type("f32[N,3]"))
    plan = make_plan(singly(builder.finish([x], ["y"])))
    assert "the arena is empty" in memory_map(plan)


def test_names_are_text_and_nothing_else(graphs) -> None:
    with Builder("hostile") as builder:
        x = builder.leaf("input", "x", parse_type("f32[N,3]"))
        for name in ("a", "b"):
            with builder.at(Provenance(variable=name)):
                x = REGISTRY["matmul"](x, builder.leaf("parameter", "w", parse_type("f32[3,3]")))
    graph = builder.finish([x], ["y"])
    graph.nodes[0].outputs[0].name = "<script>&\"'"
    plan = make_plan(singly(graph))
    svg = memory_map(plan, title="<img src=x>")
    assert "<script" not in svg and "<img" not in svg
    ET.fromstring(svg)
    hostile = '"]; evil [label="x\\\\" 9 -c \\N'
    dot = map_dot(memory_map(plan, title=hostile), DEFAULT)
    assert dot.count('"') == map_dot(memory_map(plan, title="x"), DEFAULT).count('"')
    assert "\\" not in dot


@pytest.mark.parametrize("theme", THEMES)
def test_themes_change_colours_only(graphs, theme: str) -> None:
    plan = plan_of(graphs.mlp())
    colour = re.compile(r"#[0-9A-F]{6}")
    assert colour.sub("", to_svg(plan, view="memory", theme=theme)) == colour.sub("", memory_map(plan))


def test_through_the_door(graphs, tmp_path) -> None:
    plan = plan_of(graphs.mlp())
    path = render(plan, tmp_path / "plan.svg", view="memory")
    assert path.read_text(encoding="utf-8") == memory_map(plan)
    with pytest.raises(UsageError, match="memory plan"):
        render(plan.graph, tmp_path / "plan.svg", view="memory")


def test_as_a_picture_it_has_every_buffer_and_step(graphs, tmp_path) -> None:
    plan = plan_of(graphs.mlp())
    picture = Picture.from_json(render(plan, tmp_path / "plan.json", view="memory").read_text("utf-8"))
    drawn = {name for name, *_ in buffers(memory_map(plan))}
    assert {node.id for node in picture.nodes} == drawn
    by_id = {node.id: node for node in picture.nodes}
    for edge in picture.edges:  # what a kernel reads is alive when it writes
        source, target = (
            next(b for b in plan.buffers if buffer_id(b) == i) for i in (edge.source, edge.target)
        )
        assert source.first <= target.last and target.first <= source.last
    assert sum("kept" in line.text for node in picture.nodes for line in node.lines) == memory_map(
        plan
    ).count('class="kept"')
    assert [step.backward for step in picture.steps] == sorted(step.backward for step in picture.steps)
    text = render(plan, tmp_path / "plan.txt", view="memory").read_text("utf-8")
    assert all(node.label in text for node in by_id.values()) and plan.verdict in text
    page = render(plan, tmp_path / "plan.html", view="memory").read_text("utf-8")
    assert all(
        f'<g id="{name}" class="node buffer">' in page and f'<tr id="t-{name}">' in page for name in drawn
    )


@pytest.mark.skipif(not draw.working_engines(), reason="no layout engine on this machine")
def test_the_map_without_svg_is_the_same_map(graphs, tmp_path) -> None:
    """Drawn by Graphviz: the same corners of every box, the same words."""
    plan = plan_of(graphs.residual())
    svg, dot = (
        render(plan, tmp_path / f"plan{s}", view="memory").read_text("utf-8") for s in (".svg", ".dot")
    )
    drawn = ET.fromstring(draw.draw(dot, "svg"))
    corners = [
        [tuple(map(float, point.split(","))) for point in str(shape.get("points")).split()]
        for shape in drawn.iter(f"{SVG}polygon")
    ]
    sizes = sorted(
        (round(max(x) - min(x)), round(max(y) - min(y))) for x, y in (zip(*c, strict=True) for c in corners)
    )
    for _, left, top, right, bottom in buffers(svg):
        assert any(abs(right - left - w) <= 1 and abs(bottom - top - h) <= 1 for w, h in sizes)
    words = {" ".join((t.text or "").split()) for t in drawn.iter(f"{SVG}text")}
    assert {" ".join((t.text or "").split()) for t in ET.fromstring(svg).iter(f"{SVG}text")} <= words
    for suffix, magic in ((".png", b"\x89PNG"), (".pdf", b"%PDF")):
        assert render(plan, tmp_path / f"plan{suffix}", view="memory").read_bytes().startswith(magic)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), min_size=1, max_size=20))
def test_random_plans(steps: list[tuple[int, int]]) -> None:
    with Builder("random") as builder:
        values = [builder.leaf("input", "x", parse_type("f32[N,4]"))]
        for back, width in steps:
            weight = builder.leaf(
                "parameter", "w", parse_type(f"f32[{values[-1 - back % len(values)].shape[1]},{width}]")
            )
            values.append(REGISTRY["matmul"](values[-1 - back % len(values)], weight))
    plan = make_plan(singly(builder.finish([values[-1]], ["y"])))
    check_boxes(plan, memory_map(plan))
