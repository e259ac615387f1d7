"""The rewriter: copies a graph node by node while a rule replaces some of them.

Nodes whose operands did not change are shared, not copied.  The result comes with the map from
old values to new ones; maps compose, so anything found later leads back to the user's line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Node, Provenance, Value
from graphc.ir.op import Op

ValueMap = Mapping[Value, Value]
Rule = Callable[[Node, tuple[Value, ...]], "Value | Sequence[Value] | None"]


class _Rewriting(Builder):
    """A builder whose nodes carry the name of the pass; most nodes of a graph are kept, so it is put in only here."""

    made_by = ""

    def emit(
        self,
        op: Op,
        inputs: Sequence[Value],
        attributes: Mapping[str, Any],
        names: Sequence[str] = (),
        provenance: Provenance | None = None,
    ) -> tuple[Value, ...]:
        provenance = (provenance or self.provenance).with_(made_by=self.made_by)
        return super().emit(op, inputs, attributes, names, provenance)


def rewrite(
    graph: Graph, rule: Rule, made_by: str, *, data: Mapping[str, np.ndarray] | None = None
) -> tuple[Graph, ValueMap]:
    """Apply `rule(node, new operands)` to every node in order.

    The rule returns the new value(s) that stand for the node's outputs, built with ops in the
    ambient builder, or None to keep the node.  New nodes inherit the old node's provenance with
    `made_by`.  Constants a rule adds are leaves of the builder, and it puts their arrays into `data`.
    Nodes no longer needed are dropped with the outputs as roots.
    """
    builder = _Rewriting(graph.name)
    builder.made_by = made_by
    builder.adopt(graph.leaves)
    builder.reserve([value.name for value in graph.values()])
    mapping: dict[Value, Value] = {leaf: leaf for leaf in graph.leaves}
    with builder:
        for node in graph.nodes:
            operands = tuple(mapping[v] for v in node.inputs)
            builder.provenance = node.provenance
            replacement = rule(node, operands)
            outputs = _outputs(builder, node, operands, replacement)
            mapping.update(zip(node.outputs, outputs, strict=True))
    outputs = tuple(mapping[v] for v in graph.outputs)
    arrays = {**graph.data, **(data or {})}
    rewritten = builder.finish(outputs, graph.output_names, dims=graph.dims, data=arrays)
    pairs = (
        (mapping.get(graph.by_name[v]), mapping.get(graph.by_name[d])) for v, d in graph.gradients.items()
    )
    gradients = {v.name: d.name for v, d in pairs if v is not None and d is not None}
    return prune(rewritten.with_(gradients=gradients)), mapping


def prune(graph: Graph) -> Graph:
    """Without nodes the outputs do not need, and without data and constants nothing reads."""
    needed: set[Value] = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(value in needed for value in node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    constants = tuple(value for value in graph.constants if value in needed)
    dropped = {value.name for value in graph.constants if value not in needed}
    if len(kept) == len(graph.nodes) and not dropped:
        return graph
    data = {name: array for name, array in graph.data.items() if name not in dropped}
    names = {v.name for v in (*graph.inputs, *graph.parameters, *constants)} | {
        v.name for n in kept for v in n.outputs
    }
    gradients = {v: d for v, d in graph.gradients.items() if v in names and d in names}
    return graph.with_(nodes=tuple(reversed(kept)), constants=constants, data=data, gradients=gradients)


def compose(first: ValueMap, second: ValueMap) -> ValueMap:
    """The map of two passes run one after the other; a value the second dropped is left out."""
    return {old: second[new] for old, new in first.items() if new in second}


def _outputs(
    builder: Builder, node: Node, operands: tuple[Value, ...], replacement: Any
) -> tuple[Value, ...]:
    if replacement is not None:
        return (replacement,) if isinstance(replacement, Value) else tuple(replacement)
    if operands == node.inputs:
        builder.append(node)
        return node.outputs
    types, names = tuple(v.type for v in node.outputs), tuple(v.name for v in node.outputs)
    copy = Node(node.op, operands, node.attributes, types, names, node.provenance)
    builder.append(copy)
    return copy.outputs
