"""What a pass did, as a picture: the graph before and after in one, each node where it stays.

    −  taken away: dashed          +  came: bold          ~  another op stands in its place
    nothing: unchanged

The two are laid out together once.  `side` leaves out what is not there yet or no more, and moves nothing, so that the
pictures before and after can be laid over each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from graphc.ir.cost import total_flops
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.printer import print_node
from graphc.passes.pipeline import PassLog, Step
from graphc.view import render_ir as ir
from graphc.view.hidden import behind, is_hidden
from graphc.view.layers import BUDGET
from graphc.view.numbers import amount

Side = Literal["both", "before", "after"]
SIGN = {ir.Mark.ADDED: "+ ", ir.Mark.REMOVED: "− ", ir.Mark.CHANGED: "~ "}


@dataclass(slots=True)
class _Entry:
    """A node of the picture: one of before, one of after, or both where the pass kept or replaced it."""

    old: Node | None
    new: Node | None
    mark: ir.Mark = ir.Mark.NONE
    id: str = ""


def pass_pictures(log: PassLog, side: Side = "both", title: str = "") -> dict[str, ir.Picture]:
    """The picture of every pass that changed something, by the name of the pass, in order."""
    found: dict[str, ir.Picture] = {}
    before = log.before
    for step in log.steps:
        entries = _entries(before, step)
        if any(entry.mark is not ir.Mark.NONE for entry in entries):
            name = step.name if step.name not in found else f"{step.name} {len(found)}"
            found[name] = _picture(before, step, entries, side, title or before.name)
        before = step.graph
    return found


def _entries(before: Graph, step: Step) -> list[_Entry]:
    """Both graphs merged in an order that fits both: what came stands before the first that reads it."""
    after = step.graph
    kept = set(before.nodes) & set(after.nodes)
    alive = {v for node in after.nodes for v in node.outputs}
    new_of: dict[Node, Node] = {}
    taken: set[Node] = set()
    for node in before.nodes:
        value = step.mapping.get(node.outputs[0])
        made = value.node if value is not None and value in alive else None
        if node in kept:
            new_of[node] = node
        elif made is not None and made not in kept and made not in taken:
            new_of[node] = made
            taken.add(made)
    old_of = {new: old for old, new in new_of.items()}
    entries: list[_Entry] = []
    placed: set[Node] = set()
    position = {node: i for i, node in enumerate(after.nodes)}

    def arrive(until: int) -> None:
        for node in after.nodes[:until]:
            if node not in old_of and node not in placed:
                placed.add(node)
                entries.append(_Entry(None, node, ir.Mark.ADDED))

    for old in before.nodes:
        new = new_of.get(old)
        if new is None:
            entries.append(_Entry(old, None, ir.Mark.REMOVED))
            continue
        arrive(position[new])
        same = old is new or _said(old) == _said(new)
        entries.append(_Entry(old, new, ir.Mark.NONE if same else ir.Mark.CHANGED))
    arrive(len(after.nodes))
    return [e for e in entries if not all(is_hidden(n) for n in (e.old, e.new) if n is not None)]


def _said(node: Node) -> str:
    """What a node computes, without the names of what it reads: those change with every pass."""
    return print_node(node).partition("=")[2].split("%")[0] + str(sorted(node.attributes.items()))


def _picture(before: Graph, step: Step, entries: list[_Entry], side: Side, title: str) -> ir.Picture:
    ids = ir.Ids()
    home: dict[Value, str] = {}
    nodes: list[ir.Node] = []
    leaves = dict.fromkeys(leaf for graph in (before, step.graph) for leaf in graph.leaves)
    read = {behind(v) for e in entries for n in (e.old, e.new) if n is not None for v in n.inputs}
    names: dict[str, str] = {}
    for leaf in leaves:
        if leaf in read and leaf.leaf == "input":
            if leaf.name not in names:
                names[leaf.name] = ids.new("v", leaf.name)
                nodes.append(ir.Node(names[leaf.name], ir.Role.INPUT, leaf.name, _type(leaf)))
            home[leaf] = names[leaf.name]
    for entry in entries:
        node = entry.new or entry.old
        assert node is not None
        entry.id = ids.new("o", f"{node.provenance.module}.{node.op.name}".lstrip("."))
        for one in (entry.old, entry.new):
            home |= dict.fromkeys(one.outputs if one is not None else (), entry.id)
        nodes.append(_node(entry, node, side))
    edges: dict[tuple[str, str], ir.Edge] = {}
    for entry in entries:
        sides = [
            [home.get(behind(v), "") for v in n.inputs] if n is not None else []
            for n in (entry.old, entry.new)
        ]
        for source in dict.fromkeys(filter(None, [*sides[0], *sides[1]])):
            if source == entry.id:
                continue
            mark = ir.Mark.NONE
            if source not in sides[1]:
                mark = ir.Mark.REMOVED
            elif source not in sides[0]:
                mark = ir.Mark.ADDED
            edges.setdefault((source, entry.id), ir.Edge(source, entry.id, mark=_on(mark, side)))
    shown, between = tuple(nodes), tuple(edges.values())
    if len(shown) > BUDGET:
        shown, between = _near_changes(shown, between)
    notices = (_counts(before, step), *_told(step), *_hidden(len(nodes) - len(shown)))
    what = {"both": "", "before": ", before", "after": ", after"}[side]
    legend = tuple(ir.Legend(f"mark-{m.value}", words) for m, words in MEANING.items())
    return ir.Picture(
        f"{title}: {step.name}{what}", ir.Layout.FLOW, shown, between, legend=legend, notices=notices
    )


MEANING = {
    ir.Mark.REMOVED: "taken away",
    ir.Mark.ADDED: "came",
    ir.Mark.CHANGED: "replaced",
}


def _node(entry: _Entry, node: Node, side: Side) -> ir.Node:
    """The box says the same on every side, so that it has the same size."""
    lines = [*_type(node.outputs[0])]
    names = dict.fromkeys(n.op.name for n in (entry.old, entry.new) if n is not None)
    stored = [v for v in map(behind, node.inputs) if v.leaf in ("parameter", "constant")]
    lines += [ir.Line(ir.Text.NOTE, f"◆ {v.name}") for v in dict.fromkeys(stored)]
    backward = node.provenance.role == "backward"
    role = ir.Role.GRADIENT if backward else ir.Role.OP
    span = node.provenance.span
    return ir.Node(
        entry.id,
        role,
        SIGN.get(entry.mark, "") + " → ".join(names),
        tuple(lines),
        backward=backward,
        source=span.name if span else "",
        mark=_on(entry.mark, side),
    )


def _on(mark: ir.Mark, side: Side) -> ir.Mark:
    """How something looks on one side: what is not there is left out, in its place."""
    missing = {"before": ir.Mark.ADDED, "after": ir.Mark.REMOVED}.get(side)
    return ir.Mark.ABSENT if mark is missing and mark is not ir.Mark.NONE else mark


def _type(value: Value) -> tuple[ir.Line, ...]:
    return (ir.Line(ir.Text.TYPE, str(value.type)),)


def _near_changes(
    nodes: tuple[ir.Node, ...], edges: tuple[ir.Edge, ...]
) -> tuple[tuple[ir.Node, ...], tuple[ir.Edge, ...]]:
    """What changed and its neighbours; of these as many as fit."""
    changed = [n.id for n in nodes if n.mark is not ir.Mark.NONE][: BUDGET // 2]
    kept = set(changed)
    for edge in edges:
        if {edge.source, edge.target} & set(changed) and len(kept) < BUDGET:
            kept |= {edge.source, edge.target}
    return (
        tuple(n for n in nodes if n.id in kept),
        tuple(e for e in edges if e.source in kept and e.target in kept),
    )


def _hidden(count: int) -> Iterable[str]:
    return [f"{count} nodes that are not near the first changes are not shown"] if count else []


def _told(step: Step) -> list[str]:
    """The first notes of the pass, each once; the file's own name, so that no machine shows."""
    notes = dict.fromkeys(f"{n.span.name}: {n.equation}" if n.span else n.equation for n in step.notes)
    return list(notes)[:3]


def _counts(before: Graph, step: Step) -> str:
    """`70 → 470 nodes, 3.64 G·N → 3.63 G·N FLOP`"""
    work: list[Dim] = [total_flops(graph.nodes) for graph in (before, step.graph)]
    return f"{len(before.nodes)} → {len(step.graph.nodes)} nodes, {amount(work[0])} → {amount(work[1])} FLOP"
