"""Graphs in notebooks: a picture by itself, and the page in a frame when it is asked for.

A saved notebook keeps a picture and loses scripts, so SVG is what a graph shows by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, Unpack

from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.view.from_graph import Choices, Drawable, make_picture
from graphc.view.output import to_html, to_svg
from graphc.view.plain import to_text
from graphc.view.render_ir import Picture


def mime_bundle(graph: Graph) -> dict[str, str]:
    """Text always; SVG where it can be laid out."""
    picture = make_picture(graph)
    bundle = {"text/plain": to_text(picture)}
    try:
        svg = to_svg(picture)
    except GraphcError:  # no layout engine, or too large: the text says what there is
        return bundle
    return bundle | {"image/svg+xml": svg[svg.index("<svg") :]}


@dataclass(frozen=True)
class Frame:
    """A page in a notebook, in a frame that can reach nothing of the notebook."""

    page: str
    height: int

    def _repr_html_(self) -> str:
        return (
            f'<iframe sandbox="allow-scripts" title="graph" style="width:100%;height:{self.height}px;border:0" '
            f'srcdoc="{escape(self.page)}"></iframe>'
        )


def interactive(thing: Drawable | Picture, *, height: int = 720, **choices: Unpack[Choices]) -> Any:
    """The page of a graph, for the last line of a cell.  `choices` are the arguments of `make_picture`."""
    return Frame(to_html(thing, **choices), height)
