"""The page as text: whole, closed to the outside, small, and deaf to what a model's author calls things."""

import base64
import json
import re
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest

from graphc import api
from graphc.autodiff import differentiate
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Provenance
from graphc.ir.types import parse_type
from graphc.ops import REGISTRY
from graphc.source import Span
from graphc.view import Picture, draw, make_picture, to_dot, to_html, to_svg
from graphc.view.html import NUMBERED, page
from graphc.view.plain import to_mermaid, to_text
from graphc.view.theme import DEFAULT, THEMES
from tests.docs.commands import ROOT

needs_engine = pytest.mark.skipif(not draw.working_engines(), reason="no layout engine on this machine")

MERMAID = {"---", "title:", "flowchart", "subgraph", "end", "classDef", "class"}
VOID = {"meta", "link", "input", "br"}
SEEDS = [
    "</script><script>alert(1)</script>", "<!--<script>", "]]>", "<img src=x onerror=alert(1)>", '" onload="alert(1)',
    "' onclick='alert(1)", "<svg/onload=alert(1)>", "javascript:alert(1)", "<a href='file:///etc/passwd'>x</a>",
    "&lt;script&gt;", "&#60;script&#62;", "a->b", 'x"; y [label="z"]; "', "\\N \\G \\l", "<TABLE><TR><TD>",
    "{a|b|<p>c}",
    "node", "graph", "digraph", "subgraph", "edge", "strict", "end", "class", "click", "x:y:z", "%%{init: {}}%%",
    '"]; click a "javascript:alert(1)"', "-->", "@CSP@", "@SCRIPT@", "@@", "${1+1}", "{{7*7}}", "\x00\x01\x1b[31m",
    "\u202egnp.exe", "\u200b", "\ufeff", "\ud7ff", "\U0001f600", "é́́́", "漢字", "∇x", "−1", " ", "\t", "\n\n",
    "a" * 200, "../../etc/passwd", "file:///etc/passwd", "http://example.com/", "//example.com", "data:text/html,x",
    "IMG SRC=/etc/passwd", '<IMG SRC="/etc/passwd"/>', "<FONT COLOR='red'>", "<BR/>", "URL=http://x", "shapefile=/etc",
]  # fmt: skip
HOSTILE = (SEEDS + [f"{a}{b}" for a, b in zip(SEEDS, reversed(SEEDS), strict=True)])[:100]


def named(name: str) -> Graph:
    """y = relu(x w): every name a user can give is this one."""
    where = Provenance(Span(name, 1), module=f"{name}.{name}", variable=name)
    builder = Builder(name)
    x = builder.leaf("input", f"{name} x", parse_type("float32[N,3]"))
    w = builder.leaf("parameter", f"{name} w", parse_type("float32[3,2]"))
    with builder, builder.at(where):
        h = REGISTRY["matmul"](x, w)
        y = REGISTRY["relu"](h)
    return builder.finish([y], [f"{name} y"])


class Structure(HTMLParser):
    """Which elements and attributes a page has; fails on an element that is closed in another's place."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(sorted(name for name, _ in attributes))))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(sorted(name for name, _ in attributes))))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag


def drawn_without_engine(picture: Picture, theme: object) -> str:
    raise AssertionError("rows are laid out by the page")


def page_of(graph: Graph) -> str:
    return page(make_picture(differentiate(graph), known={}), DEFAULT, drawn_without_engine)


def element(text: str, name: str, identifier: str = "") -> str:
    (found,) = re.findall(rf"<{name}{identifier}>(.*?)</{name}>", text, re.DOTALL)
    return found


def test_the_policy_names_exactly_this_script_and_this_style() -> None:
    text = page_of(named("a"))
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)[0]
    assert policy.startswith("default-src 'none'; ")
    for kind in ("script", "style"):
        code = base64.b64encode(sha256(element(text, kind).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{code}'" in policy
    assert "unsafe" not in policy and "http" not in policy


def test_nothing_is_loaded_from_anywhere() -> None:
    text = page_of(named("a")).replace('"http://www.w3.org/2000/svg"', "")
    assert re.findall(r"https?:|src=|@import|url\((?!#)", text) == []
    assert re.findall(r'href="([^"]*)"', text) == ["data:,"]


def test_the_picture_is_in_the_page() -> None:
    picture = make_picture(differentiate(named("a")), known={})
    text = page(picture, DEFAULT, drawn_without_engine)
    assert Picture.from_json(element(text, "script", ' type="application/json" id="picture"')) == picture


def test_every_operation_stands_in_the_table() -> None:
    picture = make_picture(differentiate(named("a")), known={})
    rows = re.findall(r'<tr id="t-([^"]*)">', page(picture, DEFAULT, drawn_without_engine))
    assert rows == [node.id for node in picture.nodes if node.id.startswith("o-")]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_changes_the_structure_of_a_page(name: str) -> None:
    harmless, hostile = Structure(page_of(named("a"))), Structure(page_of(named(name)))
    assert hostile.elements == harmless.elements


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_changes_the_counts_of_a_picture(name: str) -> None:
    harmless, hostile = (make_picture(differentiate(named(n)), known={}) for n in ("a", name))
    for field in ("nodes", "edges", "clusters", "rows", "steps"):
        assert len(getattr(hostile, field)) == len(getattr(harmless, field))
    for write in (to_dot, to_mermaid, to_text):
        lines = [len(write(picture).splitlines()) for picture in (harmless, hostile)]
        assert lines[0] == lines[1]
    first = [re.sub(r'"[^"]*"', "", line).split()[:1] for line in to_mermaid(hostile).splitlines()]
    assert {word for words in first for word in words if not word.startswith("n_")} <= MERMAID


@needs_engine
def test_no_name_is_active_in_svg() -> None:
    """All hostile names in one picture, because a layout takes a while."""
    builder = Builder("all")
    with builder:
        for i, name in enumerate(HOSTILE):
            x = builder.leaf("input", f"{i} {name}", parse_type("float32[2]"))
            with builder.at(Provenance(Span(name, 1), module=f"m{i} {name}", variable=name)):
                y = REGISTRY["relu"](x)
    graph = builder.finish([y], ["y"])
    picture = make_picture(graph, show=("shapes", "source"))
    text = to_svg(picture)
    assert len(re.findall(r'class="node', text)) == len(picture.nodes)
    assert len(re.findall(r'class="edge', text)) == len(picture.edges)
    assert set(re.findall(r"<(\w+)", text)) <= {
        "xml",
        "svg",
        "g",
        "title",
        "polygon",
        "path",
        "text",
        "ellipse",
    } | {"polyline"}
    attributes = {name for _, names in Structure(text[text.index("<svg") :]).elements for name in names}
    assert not {name for name in attributes if name.startswith("on") or "href" in name or name == "style"}


def test_the_numbers_of_the_page_theme_are_no_others() -> None:
    colours = [
        getattr(NUMBERED, name) for name in ("background", "ink", "muted", "line", "forward", "backward")
    ]
    assert len(set(colours)) == len(colours)
    for theme in THEMES.values():
        assert not {colour.lower() for colour in vars_of(theme)} & {
            colour.lower() for colour in vars_of(NUMBERED)
        }


def vars_of(theme) -> list[str]:
    names = [name for name in theme.__slots__ if name not in ("name", "hulls")]
    return [getattr(theme, name) for name in names] + list(theme.hulls)


@needs_engine
def test_a_circuit_follows_the_theme_of_the_reader() -> None:
    graph = differentiate(api.graph_of(lambda x, y: x * y, dict.fromkeys("xy", "float64[]")))
    values = api.evaluated(graph, {"x": np.array(2.0), "y": np.array(3.0)})
    svg = re.findall(r'<div id="graph">(.*?)</div>', to_html(graph, values=values), re.DOTALL)[0]
    assert "var(--forward)" in svg and "var(--backward)" in svg
    assert not re.search(r"#[0-9a-fA-F]{6}", svg)


def test_lenet_is_small_with_everything_in_it(tmp_path) -> None:
    from graphc.frontends.python.model_file import load_model_file

    found = load_model_file(str(ROOT / "examples/lenet.py"))
    path = tmp_path / "lenet.html"
    api.render(found.model, path, inputs=found.inputs, view="joint", values=True)
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size <= 300_000
    picture = Picture.from_json(element(text, "script", ' type="application/json" id="picture"'))
    headings = {heading for node in picture.nodes for heading, _ in node.facts}
    assert {
        "computes",
        "op",
        "output",
        "values",
        "source",
        "NumPy",
        "kernel",
        "memory",
        "LLVM IR",
        "chain rule",
        "shape",
    } <= headings
    code = json.loads(element(text, "script", ' type="application/json" id="code"'))
    named_there = {text for node in picture.nodes for heading, text in node.facts if heading == "LLVM IR"}
    assert named_there == set(code) or named_there < set(code)
