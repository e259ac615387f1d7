"""A picture in forms that need no layout: plain text for a terminal, Mermaid for a page of Markdown, networkx."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from graphc.view.dot_text import elide
from graphc.view.numbers import MINUS
from graphc.view.render_ir import Kind, Layout, Node, Picture, Role, Text

if TYPE_CHECKING:
    import networkx

GLYPH = {
    Role.INPUT: "▷", Role.PARAMETER: "◆", Role.CONSTANT: "▫", Role.OUTPUT: "▣", Role.LOSS: "▣", Role.MODULE: "▤",
    Role.ACCUMULATE: "⊕",
}  # fmt: skip


def to_text(picture: Picture) -> str:
    """Rows as two columns, forward and backward; other pictures as a list of nodes with what they read."""
    lines = [printable(picture.title), *(f"({printable(notice)})" for notice in picture.notices)]
    if picture.layout is Layout.ROWS:
        lines += _two_columns(picture)
    else:
        lines += _listed(picture)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _two_columns(picture: Picture) -> Iterator[str]:
    by_id = {node.id: node for node in picture.nodes}
    parent = {c.id: c.parent for c in picture.clusters}
    pairs = []
    for row in picture.rows:
        members = [by_id[member] for member in row]
        cluster = next((node.cluster.removeprefix("g-") for node in members if node.cluster), "")
        depth = 0
        while cluster:
            depth, cluster = depth + 1, parent.get(cluster, "")
        sides = [[node for node in members if node.backward is half] for half in (False, True)]
        ahead = [n for n in sides[0] if n.role not in (Role.PARAMETER, Role.CONSTANT)]
        stored = [n for n in sides[0] if n not in ahead]
        left = "  " * depth + "   ".join(map(_words, [*ahead, *stored]))
        pairs.append((left, "   ".join(map(_words, sides[1]))))
    wide = max((len(left) for left, right in pairs if right), default=0)
    for left, right in pairs:
        yield f"{left:<{wide}}  │ {right}" if right else left


def _listed(picture: Picture) -> Iterator[str]:
    by_id = {node.id: node for node in picture.nodes}
    for node in picture.nodes:
        if node.role in (Role.CHIP, Role.ACCUMULATE):
            continue
        reads = [by_id[e.source] for e in picture.edges if e.target == node.id]
        chips = [" ".join(line.text for line in n.lines) for n in reads if n.role is Role.CHIP]
        yield _words(node) + "".join(f"\n    {printable(chip)}" for chip in chips)


def _words(node: Node) -> str:
    glyph = "" if node.backward and node.role is not Role.ACCUMULATE else GLYPH.get(node.role, "")
    texts = [node.label] if node.role is not Role.ACCUMULATE else []
    return " ".join(printable(text) for text in [glyph, *texts, *(line.text for line in node.lines)] if text)


def to_networkx(picture: Picture) -> networkx.MultiDiGraph:
    """The picture as a networkx MultiDiGraph: a vertex for each node, by its id, and an edge for each edge.

    Vertices carry `role`, `label`, `text` (its lines), `module` (the path of clusters around it) and `backward`, edges
    `kind` and `label`.
    """
    from graphc.ir.analysis import multigraph

    clusters = {cluster.id: cluster for cluster in picture.clusters}

    def path(identifier: str) -> tuple[str, ...]:
        found: tuple[str, ...] = ()
        while identifier:
            found = (clusters[identifier].label, *found)
            identifier = clusters[identifier].parent
        return found

    vertices = [
        (
            node.id,
            {
                "role": node.role.value,
                "label": node.label,
                "text": tuple(line.text for line in node.lines),
                "module": path(node.cluster),
                "backward": node.backward,
            },
        )
        for node in picture.nodes
    ]
    edges = [(e.source, e.target, {"kind": e.kind.value, "label": e.label}) for e in picture.edges]
    return multigraph(picture.title, vertices, edges)


def printable(text: str) -> str:
    """One line without control characters: a name cannot move the cursor of a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


_SHAPES = {
    Role.INPUT: ("([", "])"),
    Role.PARAMETER: ("[", "]"),
    Role.CONSTANT: ("[", "]"),
    Role.ACCUMULATE: ("((", "))"),
    Role.OUTPUT: ("[[", "]]"),
    Role.LOSS: ("[[", "]]"),
}
_ARROWS = {
    Kind.DATA: "-->", Kind.WIRE: "---", Kind.GRADIENT: "-.->", Kind.SAVED: "-.-", Kind.TRAFFIC: "==>",
}  # fmt: skip


def to_mermaid(picture: Picture) -> str:
    """A Mermaid flowchart.  Every character of a name that could mean something is written as its number."""
    lines = ["---", f"title: {_yaml(picture.title)}", "---"]
    lines.append("flowchart LR" if picture.layout is Layout.CIRCUIT else "flowchart TB")
    inside: dict[str, list[Node]] = {}
    for node in picture.nodes:
        inside.setdefault(node.cluster, []).append(node)
    children: dict[str, list[str]] = {}
    label = {}
    for cluster in picture.clusters:
        children.setdefault(cluster.parent, []).append(cluster.id)
        label[cluster.id] = cluster.label
    pending: list[tuple[str, int, bool]] = [("", 0, False)]
    while pending:
        identifier, depth, closing = pending.pop()
        if closing:
            lines.append("  " * depth + "end")
            continue
        if identifier:
            lines.append("  " * depth + f'subgraph {_id(identifier)}["{_number(label[identifier])}"]')
            pending.append((identifier, depth, True))
        for node in inside.get(identifier, []):
            first, last = _SHAPES.get(node.role, ("(", ")"))
            words = [
                node.label,
                *(line.text for line in node.lines if line.kind is not Text.NAME or not node.label),
            ]
            text = "<br>".join(_number(elide(word)) for word in words if word) or "·"
            lines.append("  " * (depth + 1) + f'{_id(node.id)}{first}"{text}"{last}')
        pending.extend((child, depth + 1, False) for child in reversed(children.get(identifier, [])))
    for edge in picture.edges:
        middle = f'|"{_number(edge.label)}"|' if edge.label else ""
        lines.append(f"  {_id(edge.source)} {_ARROWS[edge.kind]}{middle} {_id(edge.target)}")
    backward = [_id(node.id) for node in picture.nodes if node.backward]
    if backward:
        lines += ["  classDef backward stroke-dasharray: 5 3", f"  class {','.join(backward)} backward"]
    return "\n".join(lines) + "\n"


def _id(identifier: str) -> str:
    """One of our ids in Mermaid's alphabet; a word of its own such as `end` cannot come out."""
    return "n_" + re.sub(r"[^A-Za-z0-9]", lambda c: f"_{ord(c[0]):x}_", identifier)


def _number(text: str) -> str:
    kept = set(" .,·∂∇←=+()[]" + MINUS)
    return "".join(c if (c.isascii() and c.isalnum()) or c in kept else f"#{ord(c)};" for c in text)


def _yaml(text: str) -> str:
    return '"' + "".join(c if c.isprintable() and c not in '"\\<>' else " " for c in text) + '"'
