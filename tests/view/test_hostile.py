"""Names are data: in every form of a picture a hostile name leaves the structure that a harmless one gives."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from graphc.autodiff import differentiate
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Provenance
from graphc.ir.partition import singly
from graphc.ir.types import parse_type
from graphc.ops import REGISTRY
from graphc.plan import make_plan
from graphc.source import Span
from graphc.view import Picture, draw, make_picture, render, to_dot, to_svg
from graphc.view.html import page
from graphc.view.memory_map import memory_map
from graphc.view.plain import to_mermaid, to_text
from graphc.view.theme import DEFAULT
from tests.view.hostile import HOSTILE

needs_engine = pytest.mark.skipif(not draw.working_engines(), reason="no layout engine on this machine")
VOID = {"meta", "link", "input", "br"}
DRAWN = {"svg", "g", "title", "polygon", "polyline", "path", "ellipse", "text"}
LOOKS = set(
    "id class points d x y cx cy rx ry fill stroke stroke-width stroke-dasharray transform role font-family font-size "
    "font-weight font-style text-anchor width height viewBox space fill-opacity stroke-opacity".split()
)


def graph_of(names: list[str], title: str) -> Graph:
    """((x * w1) * w2) ...: every name a user can give is one of these, those of parameters unchanged."""
    with Builder(title) as builder:
        h = builder.leaf("input", f"{title} x", parse_type("float32[N,3]"))
        for name in names:
            w = builder.leaf("parameter", name, parse_type("float32[N,3]"))
            with builder.at(Provenance(Span(name, 1), module=name, variable=name)):
                h = REGISTRY["tanh"](h * w)
        loss = REGISTRY["sum"](h, axes=(0, 1))
    return differentiate(builder.finish([loss], [title]))


def harmless(names: list[str]) -> list[str]:
    """The same names with every part of a path replaced, alike for alike."""
    parts: dict[str, str] = {}
    return [
        ".".join(parts.setdefault(part, f"p{len(parts)}") if part else "" for part in name.split("."))
        for name in names
    ]


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


def shape_of_mermaid(text: str) -> list[str]:
    """The lines without what is quoted, every id alike."""
    lines = (re.sub(r'"[^"]*"', '""', line) for line in text.splitlines())
    return [re.sub(r"\bn_\w+", "n", line) for line in lines]


def shape_of_dot(text: str) -> list[tuple[str, ...]]:
    """Of every line: the elements of its labels, the names of its attributes, and whether it is an edge."""
    shapes = []
    for line in text.splitlines():
        bare = re.sub(r'"[^"]*"', '""', line)  # nothing quoted holds a quotation mark: escape sees to that
        outside = re.sub(r"<<TABLE.*?</TABLE>>|<(&#160;)?<FONT.*?</FONT>>", "", bare)
        shapes.append(
            (*re.findall(r"</?[A-Z]+", bare), *re.findall(r"(\w+)=", outside), "->" * ("->" in outside))
        )
    return shapes


def pictures_of(names: list[str], title: str) -> SimpleNamespace:
    joint = graph_of(names, title)
    return SimpleNamespace(
        opened=make_picture(joint, known={}), drawn=make_picture(joint, depth=99, show=("shapes", "source"))
    )


def same_structure(hostile: SimpleNamespace, plain: SimpleNamespace) -> None:
    for name in ("opened", "drawn"):
        a, b = getattr(hostile, name), getattr(plain, name)
        for field in ("nodes", "edges", "clusters", "rows", "steps", "notices", "legend"):
            assert len(getattr(a, field)) == len(getattr(b, field))
    a, b = hostile.drawn, plain.drawn
    assert shape_of_dot(to_dot(a)) == shape_of_dot(to_dot(b))
    assert shape_of_mermaid(to_mermaid(a)) == shape_of_mermaid(to_mermaid(b))
    assert len(to_text(a).splitlines()) == len(to_text(b).splitlines())
    assert all(line.isprintable() for line in to_text(a).splitlines())
    assert Picture.from_json(a.to_json()) == a
    pages = [page(p, DEFAULT, drawn_without_engine) for p in (hostile.opened, plain.opened)]
    assert Structure(pages[0]).elements == Structure(pages[1]).elements


@pytest.fixture(scope="module")
def all_at_once() -> SimpleNamespace:
    names = list(HOSTILE)
    return SimpleNamespace(hostile=pictures_of(names, "t"), plain=pictures_of(harmless(names), "t"))


def test_there_are_a_hundred_of_them() -> None:
    assert len(HOSTILE) == len(set(HOSTILE)) >= 100


def test_each_name_leaves_every_form_as_it_is() -> None:
    plain: dict[str, SimpleNamespace] = {}
    for name in HOSTILE:
        (other,) = harmless([name])
        if other not in plain:
            plain[other] = pictures_of([other], "t")
        hostile = pictures_of([name], name)
        try:
            same_structure(hostile, plain[other])
        except AssertionError as error:
            raise AssertionError(f"the name {name!r}: {error}") from error


def test_all_names_together(all_at_once) -> None:
    same_structure(all_at_once.hostile, all_at_once.plain)


def test_graphviz_reads_as_many_nodes_and_edges(all_at_once) -> None:
    pygraphviz = pytest.importorskip("pygraphviz", exc_type=ImportError)
    counts, attributes = [], []
    for pictures in (all_at_once.hostile, all_at_once.plain):
        parsed = pygraphviz.AGraph(string=to_dot(pictures.drawn))
        counts.append((parsed.number_of_nodes(), parsed.number_of_edges()))
        attributes.append({key for item in (*parsed.nodes(), *parsed.edges()) for key in item.attr.keys()})
    assert counts[0] == counts[1] and counts[0][0] >= len(all_at_once.hostile.drawn.nodes)
    assert attributes[0] == attributes[1]
    assert not {key.lower() for key in attributes[0]} & {
        "url",
        "href",
        "image",
        "shapefile",
        "edgeurl",
        "imagepath",
    }


@needs_engine
def test_nothing_is_active_in_svg(all_at_once) -> None:
    picture = all_at_once.hostile.drawn
    root = ET.fromstring(to_svg(picture))
    assert {e.tag.rpartition("}")[2] for e in root.iter()} <= DRAWN
    assert {key.rpartition("}")[2] for e in root.iter() for key in e.attrib} <= LOOKS
    found = Counter(e.get("class", "").split()[0] for e in root.iter() if e.get("class"))
    assert (found["node"], found["edge"]) == (len(picture.nodes), len(picture.edges))
    assert found["cluster"] == len(picture.clusters)


def test_nothing_is_active_in_a_memory_map() -> None:
    plan = make_plan(singly(graph_of(list(HOSTILE), "t")))
    root = ET.fromstring(memory_map(plan, title=HOSTILE[0]))
    shapes = {"svg", "title", "defs", "pattern", "line", "rect", "g", "text"}
    assert {e.tag.rpartition("}")[2] for e in root.iter()} <= shapes
    assert not {key for e in root.iter() for key in e.attrib if key.startswith("on") or "href" in key}
    assert sum(e.get("class") == "node buffer" for e in root.iter()) == sum(b.size > 0 for b in plan.buffers)


def test_they_can_be_written(all_at_once, tmp_path) -> None:
    for suffix in (".json", ".dot", ".mmd", ".txt", ".html"):
        path = render(all_at_once.hostile.opened, tmp_path / f"a{suffix}")
        assert path.read_text(encoding="utf-8")
