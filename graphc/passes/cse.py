"""Common subexpressions: equal ops on equal operands are computed once.

Nodes are compared by op, operands and attributes, where 0.0 and -0.0 differ and NaN equals itself.  Ops are pure, so
any two equal nodes give the same bits; the forward copy of a value wins over one the gradient computes again.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

from graphc.ir.graph import Graph, Node, Value
from graphc.ir.printer import print_graph
from graphc.ir.rewriter import ValueMap, rewrite
from graphc.passes.rules import COMMUTATIVE


def cse(graph: Graph) -> tuple[Graph, ValueMap]:
    """One sweep; the first of equal nodes stays."""
    first: dict[Hashable, tuple[Value, ...]] = {}
    order: dict[Value, int] = {value: n for n, value in enumerate(graph.leaves)}

    def merge(node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        from graphc.ir.builder import Builder

        for operand in operands:
            order.setdefault(operand, len(order))
        inputs = operands
        if node.op.name in COMMUTATIVE:
            inputs = tuple(sorted(operands, key=order.__getitem__))
        key = (node.op.name, inputs, tuple((k, exact_key(v)) for k, v in sorted(node.attributes.items())))
        if key in first:
            return first[key]
        if operands == node.inputs:
            first[key] = node.outputs
            return None
        names, types = tuple(v.name for v in node.outputs), tuple(v.type for v in node.outputs)
        copy = Node(node.op, operands, node.attributes, types, names, node.provenance)
        Builder.current().append(copy)
        first[key] = copy.outputs
        return copy.outputs

    return rewrite(graph, merge, "cse")


def exact_key(value: Any) -> Hashable:
    """A key that two attributes share only if they are the same bits."""
    match value:
        case Graph():
            return print_graph(value)
        case tuple():
            return tuple(exact_key(item) for item in value)
        case float():
            return ("nan",) if math.isnan(value) else (value, math.copysign(1.0, value))
        case bool() | int():
            return (type(value).__name__, value)
    hashable: Hashable = value
    return hashable
