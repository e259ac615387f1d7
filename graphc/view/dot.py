"""A `Picture` as DOT text.

Ids are the picture's own safe ids; every label goes through `escape`, so no name of a user's
program can close a label, name a file or add an attribute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graphc.view import dot_circuit, dot_rows
from graphc.view.dot_text import GLYPH, SMALL, attributes, font, table
from graphc.view.render_ir import Kind, Layout, Legend, Picture, Role
from graphc.view.theme import DEFAULT, Theme

FONT = "DejaVu Sans"
HURRY = 2_500  # layout cost above which straight columns and order in rows are given up for speed


def to_dot(picture: Picture, theme: Theme = DEFAULT) -> str:
    """DOT text of a picture: the same text for the same picture, on every machine."""
    if picture.layout is Layout.CIRCUIT:
        head, body = _head(picture, theme, dot_circuit.GRAPH), dot_circuit.circuit_lines(picture, theme)
    else:
        tidy = layout_cost(picture) <= HURRY
        head, body = _head(picture, theme, dot_rows.GRAPH), dot_rows.row_lines(picture, theme, tidy)
    return "\n".join(["digraph graphc {", *(f"  {line}" for line in (*head, *body)), "}", ""])


def _caption(picture: Picture, t: Theme) -> str:
    """Title, notices and legend as the graph's label."""
    rows = [f"<TD>{font(picture.title, t.ink, 15, 'B')}</TD>"] if picture.title else []
    rows += [f"<TD>{font(notice, t.muted, SMALL)}</TD>" for notice in picture.notices]
    for entries in _balanced(picture.legend, 140 if picture.layout is Layout.CIRCUIT else 100):
        cells = "&#160;&#160;&#160;&#160; ".join(_legend(entry.sample, entry.text, t) for entry in entries)
        rows.append(f"<TD>{cells}</TD>")
    return table(rows, 3) if rows else ""


def _balanced(entries: Sequence[Legend], longest: int) -> list[list[Legend]]:
    """A legend in as few rows of at most so many characters as hold it, all about equally long."""
    sizes = [len(entry.text) + 7 for entry in entries]  # with its sample and the space between
    wanted = len(_filled(entries, sizes, longest))
    limit = max(sizes, default=0)
    while len(_filled(entries, sizes, limit)) > wanted:
        limit += 1
    return _filled(entries, sizes, limit)


def _filled(entries: Sequence[Legend], sizes: Sequence[int], limit: int) -> list[list[Legend]]:
    rows: list[list[Legend]] = []
    left = 0
    for entry, size in zip(entries, sizes, strict=True):
        if size > left:
            rows.append([])
            left = max(limit, size)
        rows[-1].append(entry)
        left -= size
    return rows


def _legend(sample: str, text: str, t: Theme) -> str:
    samples = {
        "edge-data": ("→", t.ink, ""),
        "edge-gradient": ("⇠", t.backward, ""),
        "edge-saved": ("▪┈", t.line, ""),
        "check": ("✓", t.backward, ""),
        "bar": ("▂▅█", t.muted, ""),
        "edge-traffic": ("➡", t.ink, "B"),
        "mark-removed": ("−", t.ink, "B"),
        "mark-added": ("+", t.ink, "B"),
        "mark-changed": ("~", t.ink, "B"),
        Role.GRADIENT: ("∇x", t.backward, "I"),
        Role.ACCUMULATE: ("⊕", t.backward, ""),
        Role.CHIP: ("∂f/∂x", t.muted, "I"),
    }
    sign, colour, tags = samples.get(sample) or (GLYPH.get(Role(sample), "○"), t.ink, "")
    return font(sign, colour, SMALL, tags) + " " + font(text, t.muted, SMALL)


def _head(picture: Picture, t: Theme, layout: Mapping[str, str]) -> Iterator[str]:
    graph: dict[str, str | float] = dict(layout)
    if layout_cost(picture) > HURRY:
        graph |= {"nslimit": 2}
    caption = _caption(picture, t)
    if caption:
        graph |= {"label": caption, "labelloc": "b" if picture.layout is Layout.CIRCUIT else "t"}
    graph |= {"bgcolor": t.background, "pad": "0.2", "fontname": FONT, "fontcolor": t.ink}
    yield "graph" + attributes(**graph)
    yield "node" + attributes(fontname=FONT, fontsize=12, fontcolor=t.ink, color=t.ink)
    yield "edge" + attributes(color=t.ink, arrowsize=0.7, fontname=FONT, fontsize=SMALL, fontcolor=t.muted)


def layout_cost(picture: Picture) -> int:
    """How much work a layout is: nodes, and one more for each row that an edge passes."""
    rank = {member: number for number, row in enumerate(picture.rows) for member in row}
    if picture.layout is not Layout.ROWS:
        for edge in picture.edges:  # written in the order of the program, so one sweep ranks them
            rank[edge.target] = max(rank.get(edge.target, 0), rank.get(edge.source, 0) + 1)
    spans = (
        abs(rank.get(e.target, 0) - rank.get(e.source, 0)) for e in picture.edges if e.kind is not Kind.SAVED
    )
    return len(picture.nodes) + sum(max(span - 1, 0) for span in spans)
