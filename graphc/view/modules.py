"""Which module each node of the forward pass lies in, as a tree of calls.

A module that is called twice (shared weights) gives two runs; a run is an unbroken stretch of the
program, so folding runs to one box each can never make a cycle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from graphc.ir.graph import Node


@dataclass(eq=False)
class Run:
    """One call of a module: the nodes it ran, nested calls included."""

    path: str
    level: int
    parent: Run | None
    call: int  # 1 for the first call of this module, 2 for the second ...
    nodes: list[Node] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The last part of the path, with the number of the call when it is not the first."""
        name = self.path.rpartition(".")[2]
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
        for level in range(same, len(paths)):
            calls[paths[level]] += 1
            parent = around[-1] if around else None
            around.append(Run(paths[level], level + 1, parent, calls[paths[level]]))
        for run in around:
            run.nodes.append(node)
        found[node] = tuple(around)
    return found
