"""Primitives as a lecture draws them: `--expand sigmoid` shows 1/(1 + e^(−x)) gate by gate, with a derivative each.

Only for pictures: what runs is the primitive, which does not overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from graphc.ir.graph import Graph, Node, Value
from graphc.ir.rewriter import rewrite
from graphc.ops import REGISTRY


def _sigmoid(x: Value) -> Value:
    return 1.0 / (1.0 + REGISTRY["exp"](-x))


def _tanh(x: Value) -> Value:
    e = REGISTRY["exp"](2.0 * x)
    return (e - 1.0) / (e + 1.0)


OPENINGS: dict[str, Callable[[Value], Value]] = {"sigmoid": _sigmoid, "tanh": _tanh}


def open_primitives(graph: Graph, names: Collection[str]) -> Graph:
    """The graph with these primitives, of those in `OPENINGS`, written out; without gradients."""

    def open_up(node: Node, operands: tuple[Value, ...]) -> Value | None:
        known = node.op.name in names and node.op.name in OPENINGS
        return OPENINGS[node.op.name](operands[0]) if known else None

    return rewrite(graph, open_up, "open")[0]
