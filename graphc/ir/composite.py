"""Composites: ops with a body in simpler ops.

A composite stays whole through autodiff and the pictures and is opened late, so that a backend
may keep it as one kernel.  What the declaration leaves out follows from the body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Op
from graphc.ir.types import TensorType


def body_graph(op: Op, types: Sequence[TensorType], attributes: Mapping[str, Any]) -> Graph:
    """The body of a composite as a graph of its own, for operands of these types."""
    return _body_graph(op, tuple(types), tuple(sorted(attributes.items())))


@lru_cache(maxsize=4096)
def _body_graph(op: Op, types: tuple[TensorType, ...], attributes: tuple[tuple[str, Any], ...]) -> Graph:
    assert op.body is not None
    with Builder(op.name) as builder:
        inputs = [builder.leaf("input", f"x{i}", t) for i, t in enumerate(types)]
        result = op.body(*inputs, **dict(attributes))
    outputs = (result,) if isinstance(result, Value) else tuple(result)
    return builder.finish(outputs, [f"y{i}" for i in range(len(outputs))])


def inline(graph: Graph, operands: Sequence[Value]) -> tuple[tuple[Value, ...], list[Node]]:
    """Put a copy of a leaf-only graph's nodes into the ambient builder; its outputs, and the nodes made."""
    builder = Builder.current()
    mapping = dict(zip(graph.inputs, operands, strict=True))
    made: list[Node] = []
    for node in graph.nodes:
        outputs = builder.emit(node.op, [mapping[v] for v in node.inputs], node.attributes)
        if outputs[0].node is not None:
            made.append(outputs[0].node)
        mapping.update(zip(node.outputs, outputs, strict=True))
    return tuple(mapping[v] for v in graph.outputs), made
