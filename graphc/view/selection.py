"""A part of a picture: around a box, between two, or along the way of one gradient.  What is left out is said."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from graphc.errors import UsageError, nearest
from graphc.view.render_ir import Kind, Picture, Role, legend_for
from graphc.view.units import Units


@dataclass(frozen=True, slots=True)
class Part:
    """See `make_picture`."""

    expand: tuple[str, ...] = ()
    focus: str = ""
    hops: int = 2
    grad_path_of: str = ""
    between: tuple[str, str] | None = None

    @property
    def is_cut(self) -> bool:
        """Whether something is left out."""
        return bool(self.focus or self.grad_path_of or self.between)


WHOLE = Part()


def selected(picture: Picture, units: Units, part: Part) -> Picture:
    """The part of a picture of everything.

    Raises UsageError for a name nothing has, for a gradient that does not exist, where no way leads from one to the
    other, and for several parts at once.
    """
    asked = [name for name in ("focus", "between", "grad_path_of") if getattr(part, name)]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} ask for different parts", fix="choose one of them")
    if part.between:
        kept = _between(picture, units, *part.between)
        said = f"the ways from {part.between[0]} to {part.between[1]}"
    elif part.grad_path_of:
        kept = _gradient_path(picture, units, part.grad_path_of)
        said = f"the way of the gradient of {part.grad_path_of}"
    else:
        kept = _around(picture, _boxes(picture, units, part.focus), part.hops)
        said = f"within {part.hops} edge{'s' * (part.hops != 1)} of {part.focus}"
    notice = f"{len(kept)} of {len(picture.nodes)} boxes: {said}"
    return replace(keep(picture, kept), notices=(*picture.notices, notice))


def keep(picture: Picture, kept: Collection[str]) -> Picture:
    """The picture of some of its nodes and what is between them."""
    nodes = tuple(n for n in picture.nodes if n.id in kept)
    edges = tuple(e for e in picture.edges if e.source in kept and e.target in kept)
    parent = {c.id: c.parent for c in picture.clusters}
    used = set()
    for node in nodes:
        cluster = node.cluster
        while cluster:
            used.add(cluster)
            cluster = parent[cluster]
    rows = (tuple(member for member in row if member in kept) for row in picture.rows)
    steps = tuple(
        replace(
            step,
            uses=tuple(u for u in step.uses if u in kept),
            shows=tuple(u for u in step.shows if u in kept),
        )
        for step in picture.steps
        if step.at in kept
    )
    return replace(
        picture,
        nodes=nodes,
        edges=edges,
        clusters=tuple(c for c in picture.clusters if c.id in used),
        rows=tuple(row for row in rows if row),
        steps=steps,
        legend=legend_for(nodes, edges),
    )


def _boxes(picture: Picture, units: Units, name: str) -> set[str]:
    boxes = {unit.id for unit in units.boxes_of(name)}
    boxes |= {node.id for node in picture.nodes if name in (node.id, node.label) and not node.backward}
    if not boxes:
        known = [*units.graph.by_name, *{u.nodes[0].provenance.module for u in units.all if u.nodes}]
        raise UsageError(
            f"nothing in the picture is called {name!r}{nearest(name, sorted(filter(None, known)))}"
        )
    return boxes


def _around(picture: Picture, start: set[str], hops: int) -> set[str]:
    """What can be reached over so many edges; arrays and gradients of a box in its row come with it."""
    near, beside = _neighbours(picture)
    kept = _with_neighbours(start, beside)
    for _ in range(hops):
        kept = _with_neighbours(kept | {other for box in kept for other in near.get(box, ())}, beside)
    return kept


def _neighbours(picture: Picture) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """What each box shares an edge with in other rows; and what comes with it: in its row, or the array it reads.

    A box and its gradient come together: an ⊕ then keeps its terms where the fork keeps its ways.
    """
    near: dict[str, set[str]] = {}
    beside: dict[str, set[str]] = {}
    side = {n.id for n in picture.nodes if n.role in (Role.PARAMETER, Role.CONSTANT)}
    row = {member: number for number, row in enumerate(picture.rows) for member in row}
    for edge in picture.edges:
        level = row.get(edge.source, -1) == row.get(edge.target, -2)
        found = beside if level or edge.source in side else near
        found.setdefault(edge.source, set()).add(edge.target)
        found.setdefault(edge.target, set()).add(edge.source)
    for node in picture.nodes:
        if f"g-{node.id}" in row:
            beside.setdefault(node.id, set()).add(f"g-{node.id}")
            beside.setdefault(f"g-{node.id}", set()).add(node.id)
    return near, beside


def _between(picture: Picture, units: Units, first: str, last: str) -> set[str]:
    """Every box on a way from one to the other, forward and as the gradient comes back, with their arrays."""
    begin, end = (_boxes(picture, units, name) for name in (first, last))
    data = [(e.source, e.target) for e in picture.edges if e.kind is Kind.DATA]
    kept = _on_ways(begin, end, data)
    if not kept:
        back = _on_ways(end, begin, data)
        fix = f"between=({last!r}, {first!r}) is the other way round" if back else "name two boxes of one way"
        raise UsageError(f"nothing leads from {first} to {last}", fix=fix)
    gradients = [(e.source, e.target) for e in picture.edges if e.kind is Kind.GRADIENT]
    kept |= _on_ways({f"g-{box}" for box in end}, {f"g-{box}" for box in begin}, gradients)
    known = {node.id for node in picture.nodes}
    return _with_neighbours(kept & known, _neighbours(picture)[1])


def _on_ways(begin: set[str], end: set[str], edges: list[tuple[str, str]]) -> set[str]:
    return _reached(begin, edges) & _reached(end, [(b, a) for a, b in edges])


def _with_neighbours(boxes: set[str], beside: Mapping[str, set[str]]) -> set[str]:
    found, pending = set(boxes), list(boxes)
    while pending:
        for other in beside.get(pending.pop(), ()):
            if other not in found:
                found.add(other)
                pending.append(other)
    return found


def _gradient_path(picture: Picture, units: Units, name: str) -> set[str]:
    value = units.graph.by_name.get(name)
    if value is None:
        raise UsageError(f"there is no value {name!r}{nearest(name, units.graph.by_name)}")
    if value not in units.gradient:
        raise UsageError(
            f"the picture has no gradient of {name}", fix="draw view='joint' of a graph with its gradient"
        )
    forward = [(e.source, e.target) for e in picture.edges if e.kind is Kind.DATA]
    backward = [(e.source, e.target) for e in picture.edges if e.kind is Kind.GRADIENT]
    reader = units.producer(value) or units.first_reader(value)
    begin = {reader.id} if reader is not None else set()
    stored = {f"p-{box}" for box in begin} | {n.id for n in picture.nodes if n.label == name}
    ends = {n.id for n in picture.nodes if n.role in (Role.LOSS, Role.OUTPUT)}
    ahead = _on_ways(begin, ends, forward)
    arrive = {f"g-{box}" for box in begin | stored}
    back = _reached(arrive, [(b, a) for a, b in backward])
    known = {node.id for node in picture.nodes}
    return (begin | stored | ahead | arrive | back) & known


def _reached(start: Collection[str], edges: list[tuple[str, str]]) -> set[str]:
    after: dict[str, list[str]] = {}
    for source, target in edges:
        after.setdefault(source, []).append(target)
    found, pending = set(start), list(start)
    while pending:
        for other in after.get(pending.pop(), ()):
            if other not in found:
                found.add(other)
                pending.append(other)
    return found
