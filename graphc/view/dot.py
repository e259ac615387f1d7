"""A `Picture` as DOT text.

Ids are the picture's own safe ids; every label goes through `escape`, so no name of a user's
program can close a label, name a file or add an attribute.  Two layouts: `circuit` (left to right,
a wire cell per value, a chip per local derivative) and `rows` (top to bottom, the backward op in the
row of its forward op).  In `rows` a backward edge is written from top to bottom with `dir=back`: the
layout then sees two parallel columns instead of one chain of twice the length, which is what makes
it fast (a naive joint graph of 200 nodes takes a minute).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from graphc.view.render_ir import Edge, Kind, Layout, Line, Node, Picture, Role, Text
from graphc.view.theme import DEFAULT, Theme

FONT = "DejaVu Sans"
HURRY = 2_500  # layout cost above which straight columns are given up for a layout four times as fast
HURRY = 2_500  # layout cost above which straight columns are given up for a layout four times as fast
LONGEST = 48  # characters of a user's name that are drawn; the picture's JSON keeps all

GLYPH = {
    Role.INPUT: "▷",
    Role.PARAMETER: "◆",
    Role.CONSTANT: "▫",
    Role.OUTPUT: "▣",
    Role.LOSS: "▣",
    Role.MODULE: "▤",
}
SYMBOL_SIZE = {1: 17, 2: 14, 3: 11}  # points, by the number of characters in a circle


def to_dot(picture: Picture, theme: Theme = DEFAULT) -> str:
    """DOT text of a picture: the same text for the same picture, on every machine."""
    body = _circuit(picture, theme) if picture.layout is Layout.CIRCUIT else _rows(picture, theme)
    return "\n".join(["digraph graphc {", *(f"  {line}" for line in body), "}", ""])


# ---- text ---------------------------------------------------------------------------------------


def escape(text: str) -> str:
    """Any text as the content of an HTML-like label; control and format characters become visible.

    >>> escape('<b>"x" & y')
    '&lt;b&gt;&quot;x&quot; &amp; y'
    """
    seen = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in _HIDDEN else c for c in text)
    for raw, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        seen = seen.replace(raw, entity)
    return seen if seen.strip() else "&#160;"


def elide(text: str, longest: int = LONGEST) -> str:
    """A user's name short enough to draw: the middle goes, the ends tell names apart."""
    return text if len(text) <= longest else f"{text[: longest - 16]}…{text[-15:]}"


_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _font(text: str, colour: str, size: float = 0, tags: str = "") -> str:
    inner = escape(text)
    for tag in tags:
        inner = f"<{tag}>{inner}</{tag}>"
    points = f' POINT-SIZE="{size:g}"' if size else ""
    return f'<FONT COLOR="{colour}"{points}>{inner}</FONT>'


def _attributes(**values: str | float) -> str:
    parts = []
    for name, value in values.items():
        text = str(value)
        parts.append(f"{name}={text}" if text.startswith("<") else f'{name}="{text}"')
    return " [" + ", ".join(parts) + "]" if parts else ""


def _table(rows: list[str], padding: int = 0, more: str = "") -> str:
    head = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="{padding}"{more}>'
    return "<" + head + "".join(f"<TR>{row}</TR>" for row in rows) + "</TABLE>>"


# ---- what both layouts share ----------------------------------------------------------------------


def _caption(picture: Picture, t: Theme) -> str:
    """Title, notices and legend as the graph's label."""
    rows = [f"<TD>{_font(picture.title, t.ink, 15, 'B')}</TD>"] if picture.title else []
    rows += [f"<TD>{_font(notice, t.muted, 10)}</TD>" for notice in picture.notices]
    per_row = 6 if picture.layout is Layout.CIRCUIT else 4
    entries = [_legend(entry.sample, entry.text, t) for entry in picture.legend]
    for start in range(0, len(entries), per_row):
        cells = "&#160;&#160;&#160;&#160; ".join(entries[start : start + per_row])
        rows.append(f"<TD>{cells}</TD>")
    return _table(rows, 3) if rows else ""


def _legend(sample: str, text: str, t: Theme) -> str:
    samples = {
        "edge-data": ("→", t.ink, ""),
        "edge-gradient": ("⇠", t.backward, ""),
        "edge-saved": ("▪┈", t.line, ""),
        "edge-traffic": ("➡", t.ink, "B"),
        Role.GRADIENT: ("∇x", t.backward, "I"),
        Role.ACCUMULATE: ("⊕", t.backward, ""),
        Role.CHIP: ("∂f/∂x", t.muted, "I"),
    }
    sign, colour, tags = samples.get(sample) or (GLYPH.get(Role(sample), "○"), t.ink, "")
    return _font(sign, colour, 10, tags) + " " + _font(text, t.muted, 10)


def _head(picture: Picture, t: Theme, **graph: str | float) -> Iterator[str]:
    if layout_cost(picture) > HURRY:
        graph |= {"nslimit": 2}
    if layout_cost(picture) > HURRY:
        graph |= {"nslimit": 2}
    caption = _caption(picture, t)
    if caption:
        graph |= {"label": caption, "labelloc": "b" if picture.layout is Layout.CIRCUIT else "t"}
    common = {"bgcolor": t.background, "pad": "0.2", "fontname": FONT, "fontcolor": t.ink}
    yield "graph" + _attributes(**common, **graph)
    yield "node" + _attributes(fontname=FONT, fontsize=12, fontcolor=t.ink, color=t.ink)
    yield "edge" + _attributes(color=t.ink, arrowsize=0.7, fontname=FONT, fontsize=10, fontcolor=t.muted)


def _line(line: Line, t: Theme, size: float) -> str:
    match line.kind:
        case Text.VALUE:
            return _font(line.text, t.forward, size)
        case Text.GRADIENT | Text.PRODUCT:
            return _font(line.text, t.backward, size, "I")
        case Text.DERIVATIVE:
            return _font(line.text, t.muted, size, "I")
        case Text.NAME:
            return _font(line.text, t.ink, size)
        case _:
            return _font(line.text, t.muted, size)


# ---- circuit: wires, chips, circles ----------------------------------------------------------------


def _circuit(picture: Picture, t: Theme) -> Iterator[str]:
    yield from _head(picture, t, rankdir="LR", ranksep=0.28, nodesep=0.3, splines="true")
    for node in picture.nodes:
        yield _quoted(node.id) + _circuit_node(node, t)
    role = {n.id: n.role for n in picture.nodes}
    for edge in picture.edges:
        style: dict[str, str | float] = {"class": edge.kind.value}
        if edge.kind is Kind.WIRE:
            style |= {"arrowhead": "none", "weight": 20, "headport": "w"}
        elif role[edge.target] not in (Role.OP, Role.ACCUMULATE):
            style |= {"weight": 20, "headport": "w"}  # op to its result: the wire is level with the circle
        if role[edge.source] is not Role.OP:
            style |= {"tailport": "e"}  # leave where the wire ends
        yield f"{_quoted(edge.source)} -> {_quoted(edge.target)}" + _attributes(**style)


def _circuit_node(node: Node, t: Theme) -> str:
    common: dict[str, str | float] = {"id": node.id, "class": node.role.value}
    match node.role:
        case Role.OP:
            size = SYMBOL_SIZE.get(len(node.label), 0)
            shape: dict[str, str | float] = {"shape": "ellipse", "style": "filled", "fillcolor": t.op_fill}
            if size:
                shape |= {"shape": "circle", "fixedsize": "true", "width": 0.45}
            return _attributes(
                **common, **shape, label=f"<{_font(node.label, t.ink, size or 11)}>", penwidth=1.2
            )
        case Role.ACCUMULATE:
            shape = {"shape": "circle", "fixedsize": "true", "width": 0.19, "style": "filled,dashed"}
            shape |= {"color": t.backward, "fillcolor": t.gradient_fill}
            return _attributes(**common, **shape, label=f"<{_font('+', t.backward, 11)}>")
        case Role.CHIP:
            upper, lower = node.text(Text.DERIVATIVE), node.text(Text.PRODUCT)
            above = _font(upper or "", t.muted, 10, "I")
            below = _font(lower or "", t.backward, 10, "I")
            rows = [_ruled(above, t), f'<TD HEIGHT="20" VALIGN="TOP">{below}</TD>']
            return _attributes(**common, shape="plain", label=_table(rows, 2))
        case _:
            glyph = GLYPH.get(node.role)
            name = (
                "&#160;"
                + (_font(glyph, t.muted, 10) + " " if glyph else "")
                + _font(elide(node.label), t.ink, 13, "B")
            )
            above = _font(node.text(Text.VALUE) or "", t.forward, 12)
            below = _font(node.text(Text.GRADIENT) or "", t.backward, 12, "I")
            rows = [
                f'<TD ROWSPAN="2" ALIGN="RIGHT">{name}</TD>' + _ruled(above, t, 40),
                f'<TD HEIGHT="20" ALIGN="RIGHT" VALIGN="TOP">{below}</TD>',
            ]
            return _attributes(**common, shape="plain", label=_table(rows, 2))


def _ruled(content: str, t: Theme, width: int = 0) -> str:
    """The cell above a wire: its lower border is the wire, half-way down the node."""
    least = f' WIDTH="{width}"' if width else ""
    return (
        f'<TD SIDES="B" BORDER="1" COLOR="{t.ink}" HEIGHT="20" ALIGN="RIGHT" VALIGN="BOTTOM"{least}>'
        f"{content}</TD>"
    )


def _quoted(identifier: str) -> str:
    return f'"{identifier}"'


# ---- rows: forward down the left, backward up the right --------------------------------------------


def _rows(picture: Picture, t: Theme) -> Iterator[str]:
    yield from _head(picture, t, rankdir="TB", ranksep=0.3, nodesep=0.28, newrank="true", splines="true")
    place = {member: (r, c) for r, row in enumerate(picture.rows) for c, member in enumerate(row)}
    spine = _spines(picture)
    children: dict[str, list[str]] = {}
    for cluster in picture.clusters:
        children.setdefault(cluster.parent, []).append(cluster.id)
    inside: dict[str, list[Node]] = {}
    for node in picture.nodes:
        inside.setdefault(node.cluster, []).append(node)
    by_id = {c.id: c for c in picture.clusters}

    stack: list[tuple[str, bool]] = [("", False)]
    depth = 0
    while stack:
        identifier, closing = stack.pop()
        if closing:
            depth -= 1
            yield "  " * depth + "}"
            continue
        if identifier:
            cluster = by_id[identifier]
            yield "  " * depth + f"subgraph {_quoted('cluster-' + identifier)} {{"
            depth += 1
            yield (
                "  " * depth
                + "graph"
                + _cluster(cluster.label, cluster.id, cluster.backward, cluster.group, t)
            )
            stack.append((identifier, True))
        for node in inside.get(identifier, ()):
            yield "  " * depth + _quoted(node.id) + _box(node, spine.get(node.id, ""), t)
        stack.extend((child, False) for child in reversed(children.get(identifier, ())))

    joined = {frozenset((e.source, e.target)) for e in picture.edges}
    for row in picture.rows:
        if len(row) > 1:
            yield "{ rank=same; " + "; ".join(map(_quoted, row)) + " }"
            for left, right in zip(row, row[1:], strict=False):
                if frozenset((left, right)) not in joined:
                    yield f"{_quoted(left)} -> {_quoted(right)}" + _attributes(style="invis")
    yield from _ladder(picture, spine)
    for edge in picture.edges:
        yield _row_edge(edge, place, spine, t)


def _spines(picture: Picture) -> dict[str, str]:
    """Which column a node stands in: the first op of a row is `f`, the first backward op `b`."""
    by_id = {n.id: n for n in picture.nodes}
    side = (Role.PARAMETER, Role.CONSTANT)
    spine: dict[str, str] = {}
    for row in picture.rows:
        free = {"f": True, "b": True}
        for member in row:
            node = by_id[member]
            column = "b" if node.backward else "f"
            if free[column] and node.role not in side:
                spine[member] = column
                free[column] = False
    return spine


def _ladder(picture: Picture, spine: dict[str, str]) -> Iterator[str]:
    """One row below the other, in order: parallel branches would else mix the two columns."""
    firsts = [next((m for m in row if m in spine), row[0]) for row in picture.rows]
    joined = {(e.source, e.target) for e in picture.edges}
    for upper, lower in zip(firsts, firsts[1:], strict=False):
        if (upper, lower) not in joined:
            yield f"{_quoted(upper)} -> {_quoted(lower)}" + _attributes(style="invis", weight=0)


def _row_edge(edge: Edge, place: dict[str, tuple[int, int]], spine: dict[str, str], t: Theme) -> str:
    source, target = edge.source, edge.target
    here, there = place.get(source, (0, 0)), place.get(target, (1, 0))
    upward = here > there
    level = here[0] == there[0]
    if upward:
        source, target = target, source
    column = spine.get(source)
    style: dict[str, str | float] = {"class": edge.kind.value}
    head = "arrowtail" if upward else "arrowhead"
    if upward:
        style |= {"dir": "back"}
    if edge.kind is Kind.GRADIENT:
        style |= {"style": "dashed", "color": t.backward, head: "vee"}
    elif edge.kind is Kind.SAVED:
        style |= {"style": "dotted", "color": t.line, "dir": "both", "arrowsize": 0.5, "constraint": "false"}
        style |= (
            {"arrowtail": "box", "arrowhead": "vee"}
            if not upward
            else {"arrowtail": "vee", "arrowhead": "box"}
        )
        if level:
            del style["constraint"]  # keeps the two columns in order
    elif edge.kind is Kind.TRAFFIC:
        style |= {"penwidth": 2.4, "arrowsize": 0.6}
    if edge.kind is not Kind.SAVED and not level and column and column == spine.get(target):
        style |= {"weight": 100 if abs(there[0] - here[0]) == 1 else 1}
    if edge.label:
        style |= {"label": f"<&#160;{_font(edge.label, t.muted, 10)}>"}
    return f"{_quoted(source)} -> {_quoted(target)}" + _attributes(**style)


def _cluster(label: str, identifier: str, backward: bool, group: int, t: Theme) -> str:
    ink = t.backward if backward else t.line
    fill = t.module_fill if group < 0 else t.hulls[group % len(t.hulls)]
    return _attributes(
        id=identifier,
        label=f"<{_font(elide(label), t.backward if backward else t.muted, 11, 'I' if backward else '')}>",
        labeljust="l",
        style="rounded,filled,dashed" if backward else "rounded,filled",
        color=ink,
        fillcolor=fill,
        margin=10,
        penwidth=1,
    )


def _box(node: Node, group: str, t: Theme) -> str:
    fills = {
        Role.INPUT: t.input_fill,
        Role.PARAMETER: t.parameter_fill,
        Role.CONSTANT: t.constant_fill,
        Role.LOSS: t.loss_fill,
        Role.OUTPUT: t.loss_fill,
        Role.MODULE: t.module_fill,
    }
    style: dict[str, str | float] = {"id": node.id, "class": node.role.value, "shape": "box"}
    style |= {"margin": "0.11,0.05", "height": 0.32, "width": 0.5}
    style |= {"fillcolor": t.gradient_fill if node.backward else fills.get(node.role, t.op_fill)}
    if group:
        style |= {"group": group}
    if node.role is Role.ACCUMULATE:
        style |= {"shape": "circle", "margin": "0", "width": 0.3, "height": 0.3, "fixedsize": "true"}
        return _attributes(
            **style, style="filled,dashed", color=t.backward, label=f"<{_font('+', t.backward, 14)}>"
        )
    if node.backward:
        style |= {"color": t.backward, "style": "rounded,filled,dashed"}
    else:
        style |= {"style": "filled" if node.role in (Role.PARAMETER, Role.CONSTANT) else "rounded,filled"}
    if node.role in (Role.LOSS, Role.OUTPUT, Role.MODULE):
        style |= {"peripheries": 2}
    colour, tag = (t.backward, "I") if node.backward else (t.ink, "B")
    glyph = "" if node.backward else GLYPH.get(node.role, "")
    mark = _font(glyph, t.muted, 10) + " " if glyph else ""
    if not node.label and node.lines and node.lines[0].kind in (Text.NAME, Text.CONSTANT):
        return _attributes(**style, label=_table(_stub(node, colour, tag, t)))
    rows = [mark + _font(elide(node.label), colour, 12, tag)]
    for line in node.lines:
        if line.kind is Text.NAME:
            rows[0] += "&#160; " + _font(elide(line.text), t.muted, 11)
        else:
            rows.append(_line(line, t, 10))
    return _attributes(**style, label=_table([f"<TD>{row}</TD>" for row in rows]))


def _stub(node: Node, colour: str, tag: str, t: Theme) -> list[str]:
    """The rows of a box that holds several arrays: a row for each, or one array's lines below each other."""
    arrays: list[list[str]] = []
    for line in node.lines:
        if line.kind in (Text.NAME, Text.CONSTANT):
            role = Role.CONSTANT if line.kind is Text.CONSTANT else node.role
            mark = "" if node.backward else _font(GLYPH.get(role, ""), t.muted, 10) + " "
            arrays.append([mark + _font(elide(line.text), colour, 11, tag)])
        else:
            arrays[-1].append(_line(line, t, 10))
    if len(arrays) == 1:
        return [f"<TD>{cell}</TD>" for cell in arrays[0]]
    return ["".join(f'<TD ALIGN="LEFT">{cell}&#160;&#160;</TD>' for cell in array) for array in arrays]


# ---- cost ------------------------------------------------------------------------------------------


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
