"""Rows in DOT, top to bottom: forward down the left column, backward up the right one.

A backward edge is written from top to bottom with `dir=back`: the layout then sees two parallel columns instead of
one chain of twice the length, which is what makes it fast (a naive joint graph of 200 nodes takes a minute).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from graphc.view.dot_text import GLYPH, SMALL, attributes, elide, font, line_of, quoted, table
from graphc.view.render_ir import Cluster, Edge, Kind, Mark, Node, Picture, Role, Text
from graphc.view.theme import Theme

GRAPH = {"rankdir": "TB", "ranksep": "0.3", "nodesep": "0.28", "newrank": "true", "splines": "true"}
# Positions stay when something is absent: it is laid out and not drawn.
MARKED: dict[Mark, dict[str, str | float]] = {
    Mark.NONE: {},
    Mark.ADDED: {"penwidth": 3},
    Mark.REMOVED: {"style": "rounded,dashed", "fillcolor": "none"},
    Mark.CHANGED: {"penwidth": 2, "peripheries": 2},
    Mark.ABSENT: {"style": "invis"},
}
MARKED_EDGE: dict[Mark, dict[str, str | float]] = {
    Mark.NONE: {},
    Mark.ADDED: {"penwidth": 2.4},
    Mark.REMOVED: {"style": "dashed"},
    Mark.CHANGED: {},
    Mark.ABSENT: {"style": "invis"},
}
UNSEEN = attributes(label="", style="invis", margin=0)


def row_lines(picture: Picture, t: Theme, tidy: bool = True) -> Iterator[str]:
    """Clusters, nodes, rows and edges, a line each; `tidy` keeps the order within rows, at some cost."""
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
            yield "  " * depth + f"subgraph {quoted('cluster-' + identifier)} {{"
            depth += 1
            yield (
                "  " * depth
                + "graph"
                + _cluster(cluster.label, cluster.id, cluster.backward, cluster.group, t)
            )
            stack.append((identifier, True))
            if cluster.group >= 0 and inside.get(identifier):
                yield from ("  " * depth + line for line in _badge(cluster, inside[identifier][0].id, t))
        for members in _side_by_side(inside.get(identifier, []), place if tidy else {}):
            if len(members) > 1:
                yield "  " * depth + f"subgraph {quoted(f'cluster-beside-{members[0].id}')} {{ graph" + UNSEEN
            for node in members:
                yield "  " * depth + quoted(node.id) + _box(node, spine.get(node.id, ""), t)
            if len(members) > 1:
                yield "  " * depth + "}"
        stack.extend((child, False) for child in reversed(children.get(identifier, ())))

    joined = {frozenset((e.source, e.target)) for e in picture.edges}
    for row in picture.rows:
        if len(row) > 1:
            yield "{ rank=same; " + "; ".join(map(quoted, row)) + " }"
            for left, right in zip(row, row[1:], strict=False):
                if frozenset((left, right)) not in joined:
                    yield f"{quoted(left)} -> {quoted(right)}" + attributes(style="invis")
    yield from _anchor(picture, spine)
    yield from _ladder(picture, spine)
    node_of = {node.id: node for node in picture.nodes}
    for edge in picture.edges:
        pull = 0 if picture.rows else _pull(node_of[edge.source], node_of[edge.target])
        yield _row_edge(edge, place, spine, t, pull)


def _side_by_side(nodes: list[Node], place: dict[str, tuple[int, int]]) -> list[list[Node]]:
    """The nodes of one cluster, those together that stand side by side in one half of a row.

    An unseen cluster keeps them together and in order, which Graphviz else forgets where another edge passes.
    """
    groups: dict[object, list[Node]] = {}
    for node in nodes:
        row = place.get(node.id)
        groups.setdefault((row[0], node.backward) if row else node.id, []).append(node)
    return list(groups.values())


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


def _anchor(picture: Picture, spine: dict[str, str]) -> Iterator[str]:
    """Two unseen points above a first row that lies in clusters: Graphviz else forgets which column is the left one."""
    cluster = {node.id: node.cluster for node in picture.nodes}
    columns = {spine[m]: m for m in (picture.rows[0] if picture.rows else ()) if m in spine and cluster[m]}
    if len(columns) == 2:
        point = attributes(style="invis", width=0, height=0, label="")
        yield f'"top-f"{point}; "top-b"{point}; {{ rank=same; "top-f"; "top-b" }}'
        for source, target in (("top-f", "top-b"), ("top-f", columns["f"]), ("top-b", columns["b"])):
            yield f"{quoted(source)} -> {quoted(target)}" + attributes(style="invis")


def _ladder(picture: Picture, spine: dict[str, str]) -> Iterator[str]:
    """One row below the other, in order: parallel branches would else mix the two columns."""
    firsts = [next((m for m in row if m in spine), row[0]) for row in picture.rows]
    joined = {(e.source, e.target) for e in picture.edges}
    for upper, lower in zip(firsts, firsts[1:], strict=False):
        if (upper, lower) not in joined:
            yield f"{quoted(upper)} -> {quoted(lower)}" + attributes(style="invis", weight=0)


def _pull(source: Node, target: Node) -> int:
    """Where there are no rows: a kernel keeps together first, then forward with forward and backward with backward."""
    if source.cluster and source.cluster == target.cluster:
        return 100
    return 8 if source.backward == target.backward else 1


def _row_edge(
    edge: Edge, place: dict[str, tuple[int, int]], spine: dict[str, str], t: Theme, pull: int
) -> str:
    """An edge; one with a `pull` is drawn short and straight first."""
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
    if pull:
        style |= {"weight": pull}
    style |= MARKED_EDGE[edge.mark]
    if edge.label:
        style |= {"label": f"<&#160;{font(edge.label, t.muted, SMALL)}>"}
    return f"{quoted(source)} -> {quoted(target)}" + attributes(**style)


def _cluster(label: str, identifier: str, backward: bool, group: int, t: Theme) -> str:
    ink = t.backward if backward else t.line
    ink_of_label = t.backward if backward else t.muted
    fill = t.module_fill if group < 0 else t.hulls[group % len(t.hulls)]
    return attributes(
        id=identifier,
        label="" if group >= 0 else f"<{font(elide(label), ink_of_label, 11, 'I' if backward else '')}>",
        labeljust="l",
        style="rounded,filled,dashed" if backward else "rounded,filled",
        color=ink,
        fillcolor=fill,
        margin=10,
        penwidth=1,
    )


def _badge(cluster: Cluster, first: str, t: Theme) -> Iterator[str]:
    """What is said of a fusion group, beside its first op: above it the edges come in."""
    cells = [
        f'<TD ALIGN="LEFT">{font(part, t.muted, SMALL)}</TD>' for part in re.split(": |, ", cluster.label)
    ]
    name = quoted(f"badge-{cluster.id}")
    yield name + attributes(id=f"badge-{cluster.id}", shape="plain", label=table(cells))
    yield f"{{ rank=same; {quoted(first)} -> {name}" + attributes(style="invis") + " }"


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
        return attributes(
            **style, style="filled,dashed", color=t.backward, label=f"<{font('+', t.backward, 14)}>"
        )
    if node.backward:
        style |= {"color": t.backward, "style": "rounded,filled,dashed"}
    else:
        style |= {"style": "filled" if node.role in (Role.PARAMETER, Role.CONSTANT) else "rounded,filled"}
    if node.role in (Role.LOSS, Role.OUTPUT, Role.MODULE):
        style |= {"peripheries": 2}
    style |= MARKED[node.mark]
    colour, tag = (t.backward, "I") if node.backward else (t.ink, "B")
    glyph = "" if node.backward else GLYPH.get(node.role, "")
    mark = font(glyph, t.muted, SMALL) + " " if glyph else ""
    if not node.label and node.lines and node.lines[0].kind in (Text.NAME, Text.CONSTANT):
        return attributes(**style, label=table(_stub(node, colour, tag, t)))
    rows = [mark + font(elide(node.label), colour, 12, tag)]
    for line in node.lines:
        if line.kind is Text.NAME:
            rows[0] += "&#160; " + font(elide(line.text), t.muted, 11)
        else:
            rows.append(line_of(line, t, SMALL))
    return attributes(**style, label=table([f"<TD>{row}</TD>" for row in rows]))


def _stub(node: Node, colour: str, tag: str, t: Theme) -> list[str]:
    """The rows of a box that holds several arrays: a row for each, or one array's lines below each other."""
    arrays: list[list[str]] = []
    for line in node.lines:
        if line.kind in (Text.NAME, Text.CONSTANT):
            role = Role.CONSTANT if line.kind is Text.CONSTANT else node.role
            mark = "" if node.backward else font(GLYPH.get(role, ""), t.muted, SMALL) + " "
            arrays.append([mark + font(elide(line.text), colour, 11, tag)])
        else:
            arrays[-1].append(line_of(line, t, SMALL))
    if len(arrays) == 1:
        return [f"<TD>{cell}</TD>" for cell in arrays[0]]
    return ["".join(f'<TD ALIGN="LEFT">{cell}&#160;&#160;</TD>' for cell in array) for array in arrays]
