"""DOT text: golden, the same under every hash seed, and safe whatever the names are."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.autodiff import differentiate
from graphc.view import THEMES, make_picture, to_dot
from graphc.view.dot import layout_cost
from graphc.view.dot_text import elide, escape
from graphc.view.render_ir import Cluster, Edge, Layout, Line, Node, Picture, Role, Text
from tests.view.hostile import HOSTILE

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ["circuit", "ladder"])
def test_golden(pictures, name: str) -> None:
    assert to_dot(getattr(pictures, name)()) == (GOLDEN / f"{name}.dot").read_text(encoding="utf-8")


SCRIPT = """
from graphc.autodiff import differentiate
from graphc.ir.parser import parse_graph
from graphc.ir.partition import singly
from graphc.plan import make_plan
from graphc.view import make_picture, to_dot, to_html
from graphc.view.memory_picture import memory_picture
from graphc.view.plain import to_mermaid
graph = parse_graph('''graph g {
  input %x: f32[N,4]
  param %w: f32[3,4]
  param %v: f32[3,4]
  %a: f32[N,3] = matmul %x, %w {transpose_x=False, transpose_w=True}
  %b: f32[N,3] = matmul %x, %v {transpose_x=False, transpose_w=True}
  %c: f32[N,3] = mul %a, %b
  %d: f32[N,3] = add %c, %a
  %l: f32[] = sum %d {axes=(0, 1)}
  return %l as "loss"
}''')
joint = differentiate(graph, ["x", "w", "v"])
print(to_dot(joint), make_picture(joint, show=("shapes", "params", "flops")).to_json(), to_html(joint))
print(memory_picture(make_plan(singly(joint))).to_json(), to_mermaid(make_picture(joint)))
"""


def test_the_hash_seed_does_not_matter() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    ]
    assert outputs[0] == outputs[1] and b"accumulate" in outputs[0]


def with_name(name: str, layout: Layout) -> Picture:
    lines = (Line(Text.TYPE, name), Line(Text.NOTE, name), Line(Text.VALUE, name), Line(Text.PRODUCT, name))
    nodes = tuple(Node(f"n-{role.value}", role, name, lines, "c") for role in Role)
    edges = tuple(Edge(a.id, b.id, label=name) for a, b in zip(nodes, nodes[1:], strict=False))
    rows = tuple((n.id,) for n in nodes) if layout is Layout.ROWS else ()
    return Picture(name, layout, nodes, edges, (Cluster("c", name),), rows, notices=(name,))


@pytest.mark.parametrize("layout", Layout)
def test_hostile_names_change_nothing_but_labels(layout: Layout) -> None:
    """With every escaped name taken out, the text is that of the same picture with plain names."""
    plain = to_dot(with_name("plain", layout))
    for name in (name for name in HOSTILE if len(name) > 3):
        hostile = to_dot(with_name(name, layout))
        for spelled in sorted({escape(name), escape(elide(name))}, key=len, reverse=True):
            hostile = hostile.replace(f">{spelled}<", ">plain<")
        assert hostile == plain, name


@settings(max_examples=200)
@given(st.text())
def test_escaped_text_has_no_markup(text: str) -> None:
    escaped = escape(text)
    assert not set(escaped) & set('<>"\n\r\0')
    assert not re.search(r"&(?!amp;|lt;|gt;|quot;|#160;)", escaped)
    assert escaped.strip()


@given(st.text(max_size=300))
def test_long_names_keep_their_ends(text: str) -> None:
    short = elide(text)
    assert len(short) <= 48 and short[:10] == text[:10] and short[-10:] == text[-10:]


@pytest.mark.parametrize("theme", THEMES)
def test_themes_change_colours_only(pictures, theme: str) -> None:
    colours = re.compile(r"#[0-9A-F]{6}")
    for picture in (pictures.circuit(), pictures.ladder()):
        assert colours.sub("", to_dot(picture, theme=theme)) == colours.sub("", to_dot(picture))


def test_ids_are_those_of_the_picture(graphs) -> None:
    picture = make_picture(differentiate(graphs.residual()))
    text = to_dot(picture)
    assert set(re.findall(r'\bid="([^"]*)"', text)) == {n.id for n in picture.nodes} | {
        c.id for c in picture.clusters
    }


def test_parsed_back_it_is_the_same_graph(graphs) -> None:
    pygraphviz = pytest.importorskip("pygraphviz", exc_type=ImportError)
    picture = make_picture(differentiate(graphs.residual()))
    parsed = pygraphviz.AGraph(string=to_dot(picture))
    assert set(parsed.nodes()) == {n.id for n in picture.nodes}
    seen = {frozenset(edge) for edge in parsed.edges() if edge.attr["style"] != "invis"}
    assert seen == {frozenset((e.source, e.target)) for e in picture.edges}


def test_an_edit_in_one_module_leaves_the_others_text(graphs) -> None:
    """Blocks 0 and 1 of two and of three blocks are written alike."""
    two, three = (
        {n.id for n in make_picture(differentiate(graphs.residual(count)), depth=9).nodes} for count in (2, 3)
    )
    assert two < three


def test_layout_cost_counts_long_edges(pictures) -> None:
    chain = pictures.ladder()
    skipping = replace(chain, edges=(*chain.edges, Edge(chain.rows[0][0], chain.rows[9][0])))
    assert layout_cost(chain) == len(chain.nodes)
    assert layout_cost(skipping) == len(chain.nodes) + 8
