"""Expand: composites are replaced by their bodies, down to primitives.

Late, after autodiff and stabilising, so that a composite's own gradient and its picture are used first.  `keep`
names composites a backend runs whole.
"""

from __future__ import annotations

from collections.abc import Collection

from graphc.ir.builder import Builder
from graphc.ir.composite import body_graph
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.ir.rewriter import ValueMap, rewrite


def expand(graph: Graph, keep: Collection[str] = ()) -> tuple[Graph, ValueMap]:
    """Replace every composite except those in `keep`; bodies inside bodies too."""

    def open_up(node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.op.kind is not Kind.COMPOSITE or node.op.name in keep:
            return None
        types = [v.type for v in operands]
        # One level of recursion for each composite within a composite; never over a graph's length.
        body, _ = expand(body_graph(node.op, types, node.attributes), keep)
        return copy_body(body, operands, node.name)

    return rewrite(graph, open_up, "expand")


def copy_body(body: Graph, operands: tuple[Value, ...], name: str) -> tuple[Value, ...]:
    """The body's nodes in the ambient builder, named after the composite they belong to."""
    builder = Builder.current()
    mapping = dict(zip(body.inputs, operands, strict=True))
    for node in body.nodes:
        names = [f"{name}.{node.op.name}" + (f".{i}" if i else "") for i in range(len(node.outputs))]
        outputs = builder.emit(node.op, [mapping[v] for v in node.inputs], node.attributes, names)
        mapping.update(zip(node.outputs, outputs, strict=True))
    return tuple(mapping[v] for v in body.outputs)
