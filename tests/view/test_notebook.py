"""What a notebook shows of a graph."""

import xml.etree.ElementTree as ElementTree

import pytest

import graphc
from graphc import api
from graphc.view import draw, interactive

needs_engine = pytest.mark.skipif(not draw.working_engines(), reason="no layout engine on this machine")


def graph() -> graphc.Graph:
    return api.graph_of(lambda x: (x * x).sum(), {"x": "float32[N,3]"})


@needs_engine
def test_text_and_a_picture() -> None:
    bundle = graph()._repr_mimebundle_(include=None, exclude=None)
    assert set(bundle) == {"text/plain", "image/svg+xml"}
    assert "float32[N,3]" in bundle["text/plain"]
    root = ElementTree.fromstring(bundle["image/svg+xml"])
    assert root.get("viewBox")


def test_text_where_nothing_can_be_laid_out(monkeypatch) -> None:
    monkeypatch.setattr(draw, "engines", list)
    assert set(graph()._repr_mimebundle_()) == {"text/plain"}


def test_the_page_in_a_frame_of_its_own() -> None:
    html = interactive(graph(), style="layers")._repr_html_()
    assert html.startswith('<iframe sandbox="allow-scripts"')
    assert "<script" not in html  # it is in an attribute, escaped
    assert "Content-Security-Policy" in html
