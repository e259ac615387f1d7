"""Circuits in DOT, left to right: a wire cell per value, a chip per local derivative, a circle per op.

Chips are nodes of their own between a wire and its op, so that the layout makes room for them; labels of edges
overlap each other.  Both rows of a cell are of one height, so the wire runs half-way down and meets its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphc.view.dot_lines import Turn, turns
from graphc.view.dot_text import GLYPH, SMALL, attributes, elide, font, quoted, table
from graphc.view.render_ir import Kind, Node, Picture, Role, Text
from graphc.view.theme import Theme

GRAPH = {"rankdir": "LR", "ranksep": "0.12", "nodesep": "0.3", "splines": "true"}
SYMBOL_SIZE = {1: 17, 2: 14, 3: 11}  # points, by the number of characters in a circle
CHIP = 10  # points
WIDE = 20  # characters of a chip's row; a longer one goes on below, before its last `=`


def circuit_lines(picture: Picture, t: Theme) -> Iterator[str]:
    """Nodes and edges, a line each."""
    for node in picture.nodes:
        yield quoted(node.id) + _circuit_node(node, t)
    role = {n.id: n.role for n in picture.nodes}
    broken = turns(picture)
    yield from _lines(picture, broken, t)
    begun = {turn.edge: f"line-{number}" for number, turn in enumerate(broken, start=2)}
    for edge in picture.edges:
        style: dict[str, str | float] = {"class": edge.kind.value}
        if edge.kind is Kind.WIRE:
            style |= {"arrowhead": "none", "weight": 20, "headport": "w"}
        else:
            style |= {"minlen": 2}  # room for a bend and a head
        if edge.kind is not Kind.WIRE and role[edge.target] not in (Role.OP, Role.ACCUMULATE):
            style |= {"weight": 20, "headport": "w"}  # op to its result: the wire is level with the circle
        if role[edge.source] is not Role.OP:
            style |= {"tailport": "e"}  # leave where the wire ends
        source = edge.source
        if edge in begun:
            hidden = attributes(style="invis", constraint="false")
            yield f"{quoted(edge.source)} -> {quoted(edge.target)}" + hidden
            source = begun[edge]
        yield f"{quoted(source)} -> {quoted(edge.target)}" + attributes(**style)


def _lines(picture: Picture, broken: list[Turn], t: Theme) -> Iterator[str]:
    """The beginning of each line below the first: the name of the value it goes on with."""
    label = {node.id: node.label for node in picture.nodes}
    above = broken[0].first if broken else ""
    for number, turn in enumerate(broken, start=2):
        name = font("↳ ", t.muted, 13) + font(elide(label[turn.edge.source]), t.ink, 13, "B")
        line = f"line-{number}"
        cells = [f'<TD ROWSPAN="2">{name}</TD>{_ruled("", t)}', '<TD HEIGHT="20"></TD>']
        yield quoted(line) + attributes(shape="plain", label=table(cells, 2))
        yield f"{{ rank=same; {quoted(above)} -> {quoted(line)}" + attributes(style="invis") + " }"
        above = line


def _circuit_node(node: Node, t: Theme) -> str:
    common: dict[str, str | float] = {"id": node.id, "class": node.role.value}
    match node.role:
        case Role.OP:
            size = SYMBOL_SIZE.get(len(node.label), 0)
            shape: dict[str, str | float] = {"shape": "ellipse", "style": "filled", "fillcolor": t.op_fill}
            if size:
                shape |= {"shape": "circle", "fixedsize": "true", "width": 0.45}
            return attributes(
                **common, **shape, label=f"<{font(node.label, t.ink, size or 11)}>", penwidth=1.2
            )
        case Role.ACCUMULATE:
            shape = {"shape": "circle", "fixedsize": "true", "width": 0.19, "style": "filled,dashed"}
            shape |= {"color": t.backward, "fillcolor": t.gradient_fill}
            return attributes(**common, **shape, label=f"<{font('+', t.backward, 11)}>")
        case Role.CHIP:
            derivative = _broken(node.text(Text.DERIVATIVE) or "")
            product = _broken(node.text(Text.PRODUCT) or "")
            height = 20 + 13 * (max(len(derivative), len(product)) - 1)
            written = "<BR/>".join(font(part, t.muted, CHIP, "I") for part in derivative)
            beneath = "<BR/>".join(font(part, t.backward, CHIP, "I") for part in product)
            rows = [
                _ruled(written, t, height=height),
                f'<TD HEIGHT="{height}" VALIGN="TOP">{beneath}</TD>',
            ]
            return attributes(**common, shape="plain", label=table(rows, 2))
        case _:
            glyph = GLYPH.get(node.role)
            mark = font(glyph, t.muted, SMALL) + " " if glyph else ""
            name = "&#160;" + mark + font(elide(node.label), t.ink, 13, "B")
            above = font(node.text(Text.VALUE) or "", t.forward, 12)
            below = font(node.text(Text.GRADIENT) or "", t.backward, 12, "I")
            rows = [
                f'<TD ROWSPAN="2" ALIGN="RIGHT">{name}</TD>' + _ruled(above, t, 40),
                f'<TD HEIGHT="20" ALIGN="RIGHT" VALIGN="TOP">{below}</TD>',
            ]
            return attributes(**common, shape="plain", label=table(rows, 2))


def _broken(text: str) -> list[str]:
    """A formula in one row, or in two when it is long."""
    head, equals, result = text.rpartition(" = ")
    return [head, f"= {result}"] if equals and len(text) > WIDE else [text]


def _ruled(content: str, t: Theme, width: int = 0, height: int = 20) -> str:
    """The cell above a wire: its lower border is the wire, half-way down the node."""
    least = f' WIDTH="{width}"' if width else ""
    return (
        f'<TD SIDES="B" BORDER="1" COLOR="{t.ink}" HEIGHT="{height}" ALIGN="RIGHT" VALIGN="BOTTOM"{least}>'
        f"{content}</TD>"
    )
