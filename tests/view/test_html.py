"""The page as text: whole, closed to the outside, small, and deaf to what a model's author calls things."""

import base64
import json
import re
from hashlib import sha256

import numpy as np
import pytest

from graphc import api
from graphc.autodiff import differentiate
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Provenance
from graphc.ir.types import parse_type
from graphc.ops import REGISTRY
from graphc.source import Span
from graphc.view import Picture, draw, make_picture, to_html
from graphc.view.html import NUMBERED, page
from graphc.view.theme import DEFAULT, THEMES
from tests.docs.commands import ROOT

needs_engine = pytest.mark.skipif(not draw.working_engines(), reason="no layout engine on this machine")


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
