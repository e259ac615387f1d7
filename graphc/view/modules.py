"""Which module each node of the forward pass lies in, as a tree of calls, and which calls are alike.

A module that is called twice (shared weights) gives two runs; a run is an unbroken stretch of the
program, so folding runs to one box each can never make a cycle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphc.ir.graph import Node, Value
from graphc.view.hidden import behind, is_constant


@dataclass(eq=False)
class Run:
    """One call of a module: the nodes it ran, nested calls included."""

    path: str
    parent: Run | None
    call: int  # 1 for the first call of this module, 2 for the second ...
    nodes: list[Node] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The last part of the path, two when the last is a number, with the call when it is not the first."""
        rest, _, name = self.path.rpartition(".")
        if name.isdigit() and rest:
            name = f"{rest.rpartition('.')[2]}.{name}"
        return name if self.call == 1 else f"{name} (call {self.call})"


def runs_of(nodes: Sequence[Node]) -> dict[Node, tuple[Run, ...]]:
    """For each node the runs around it, outermost first; an empty tuple outside of any module."""
    calls: Counter[str] = Counter()
    around: list[Run] = []
    found: dict[Node, tuple[Run, ...]] = {}
    for node in nodes:
        parts = node.provenance.module.split(".") if node.provenance.module else []
        paths = [".".join(parts[: i + 1]) for i in range(len(parts))]
        same = 0
        while same < min(len(around), len(paths)) and around[same].path == paths[same]:
            same += 1
        del around[same:]
        for path in paths[same:]:
            calls[path] += 1
            around.append(Run(path, around[-1] if around else None, calls[path]))
        for run in around:
            run.nodes.append(node)
        found[node] = tuple(around)
    return found


def repeats(around: Mapping[Node, tuple[Run, ...]], levels: int) -> dict[Run, tuple[Run, ...]]:
    """Runs that only repeat the neighbour before them: each mapped to all that repeat the same one, in order.

    Two runs are alike when their ops, attributes, types and wiring are equal, one by one; names do not count.
    Looks at the outermost `levels` levels of modules.
    """
    children: dict[Run | None, dict[Run, None]] = {}
    for runs in around.values():
        for run in runs[:levels]:
            children.setdefault(run.parent, {})[run] = None
    position = {node: i for i, node in enumerate(around)}
    found: dict[Run, tuple[Run, ...]] = {}
    for siblings in children.values():
        likeness = {run: _likeness(run) for run in siblings}
        group: list[Run] = []
        for run in siblings:
            adjacent = group and position[run.nodes[0]] == position[group[-1].nodes[-1]] + 1
            if not (adjacent and likeness[run] == likeness[group[0]]):
                found |= dict.fromkeys(group[1:], tuple(group[1:]))
                group = []
            group.append(run)
        found |= dict.fromkeys(group[1:], tuple(group[1:]))
    return found


def _likeness(run: Run) -> tuple[object, ...]:
    inside = {value: (i, value.index) for i, node in enumerate(run.nodes) for value in node.outputs}
    outside: dict[Value, int] = {}  # what it reads from elsewhere, by order of first use

    def operand(value: Value) -> object:
        value = value if value in inside else behind(value)
        if value in inside:
            return inside[value]
        if value.node is not None and is_constant(value):
            return ("constant", value.node.attributes["value"], value.type)
        kind = value.leaf if value.leaf in ("parameter", "constant") else "data"
        return (kind, outside.setdefault(value, len(outside)), value.type)

    return tuple(
        (
            node.op.name,
            tuple(sorted(node.attributes.items())),
            tuple(value.type for value in node.outputs),
            tuple(operand(value) for value in node.inputs),
            node.provenance.module.removeprefix(run.path),
        )
        for node in run.nodes
    )
