"""Loops in pictures of the forward pass: the body stands in a frame of its own, once, with the number of steps.

What is drawn is no program: the frame shows one step, which reads the sequence and the first state.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.passes.loops import has_loops
from graphc.view.hidden import behind, is_constant

Values = Mapping[Value, np.ndarray]


def opened(graph: Graph, values: Values | None) -> tuple[Graph, Values | None]:
    """The graph with the body of each loop in its place, as a module called `step × T`; and the values it had."""
    if not has_loops(graph):
        return graph, values
    builder = Builder(graph.name)
    builder.adopt(graph.leaves)
    builder.reserve([value.name for value in graph.values()])
    new: dict[Value, Value] = {leaf: leaf for leaf in graph.leaves}
    for node in graph.nodes:
        if node.op.kind is Kind.CONTROL:
            _open(builder, node, new, node.provenance.module)
        else:
            _put(builder, node, new, tuple(v.name for v in node.outputs), node.provenance.module)
    outputs = tuple(new[v] for v in graph.outputs)
    inputs = tuple(builder.leaves["input"])
    drawn = graph.with_(inputs=inputs, nodes=tuple(builder.nodes), outputs=outputs)
    return drawn, values and {new[v]: array for v, array in values.items() if v in new}


def _open(builder: Builder, loop: Node, new: dict[Value, Value], module: str) -> None:
    body = loop.attributes["body"]
    frame = f"{module}.{body.name} × {loop.attributes['length']}".lstrip(".")
    inside = dict(zip(body.inputs, (new[v] for v in loop.inputs), strict=True))
    for state in body.inputs[: loop.attributes["carries"]]:
        if is_constant(behind(inside[state])):  # a state that begins as a number is none in the other steps
            inside[state] = builder.leaf("input", f"{state.name} before", state.type)
    for node in body.nodes:
        below = node.provenance.module.removeprefix(loop.provenance.module).strip(".")
        path = f"{frame}.{below}" if below else frame
        if node.op.kind is Kind.CONTROL:
            _open(builder, node, inside, path)
        else:
            _put(builder, node, inside, tuple(builder.unique(v.name) for v in node.outputs), path)
    new.update(zip(loop.outputs, (inside[v] for v in body.outputs), strict=True))


def _put(builder: Builder, node: Node, new: dict[Value, Value], names: tuple[str, ...], module: str) -> None:
    inputs, types = tuple(new[v] for v in node.inputs), tuple(v.type for v in node.outputs)
    if inputs == node.inputs and module == node.provenance.module:
        builder.append(node)
        new.update((v, v) for v in node.outputs)
        return
    provenance = node.provenance.with_(module=module)
    copy = Node(node.op, inputs, node.attributes, types, names, provenance)
    builder.append(copy)
    new.update(zip(node.outputs, copy.outputs, strict=True))
