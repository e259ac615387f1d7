"""Parameters and floating-point operations of nodes, as dimensions: exact, and symbolic where a size is."""

from __future__ import annotations

from collections.abc import Iterable

from graphc.ir.composite import body_graph
from graphc.ir.dims import Dim
from graphc.ir.graph import Node, Value
from graphc.ir.op import Kind

FREE = (Kind.MOVEMENT, Kind.CREATION, Kind.INDEXING)


def flops_of(node: Node) -> Dim:
    """Floating-point operations of one node: a multiplication and an addition are two.

    What the op declares; else one per element of the output, none for ops that only move data, and for a
    composite the sum over its body; a loop does the work of its body once a step.
    """
    work: Dim = 0
    pending = [node]
    while pending:
        current = pending.pop()
        types = [value.type for value in current.inputs]
        if current.op.flops is not None:
            work = work + current.op.flops(*types, **current.attributes)
        elif current.op.kind is Kind.CONTROL:
            work = work + total_flops(current.attributes["body"].nodes) * current.attributes["length"]
        elif current.op.is_composite:
            pending.extend(body_graph(current.op, types, current.attributes).nodes)
        elif current.op.kind not in FREE:
            work = work + current.outputs[0].type.size
    return work


def total_flops(nodes: Iterable[Node]) -> Dim:
    """Floating-point operations of several nodes."""
    work: Dim = 0
    for node in nodes:
        work = work + flops_of(node)
    return work


def parameter_count(values: Iterable[Value]) -> Dim:
    """Numbers in the given values, each value once."""
    total: Dim = 0
    for value in dict.fromkeys(values):
        total = total + value.type.size
    return total
