"""Loops as one node: the step is recorded once, as the body of graphc's `scan`.

What a step reads from around it becomes a fixed operand; what does not depend on the step is computed before the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from graphc.frontends.onnx.errors import OnnxLimitError
from graphc.ir.builder import Builder
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import REGISTRY

if TYPE_CHECKING:
    from graphc.frontends.onnx.importer import Importer

MAX_STEPS = 1_000_000
Step = Callable[[list[Value], list[Value]], tuple[list[Value], list[Value]]]


class ManyBodies(Exception):
    """The steps differ: the state changes its type, or a shape depends on the step."""


def looped(
    importer: Importer,
    step: Step,
    state: Sequence[Value],
    sequences: Sequence[Value],
    length: Dim,
    *,
    reverse: bool = False,
) -> tuple[list[Value], list[Value]]:
    """The last state and the stacked results of `step(state, elements of the sequences) -> (new state, results)`.

    Raises ManyBodies when the steps have no one body; then the builder is as before.
    """
    if isinstance(length, int) and length > MAX_STEPS:
        raise OnnxLimitError(f"a loop makes {length} turns; {MAX_STEPS} are allowed")
    outer, inner = Builder.current(), Builder("step")
    inner.provenance = outer.provenance
    own_state = [inner.leaf("input", "state", v.type) for v in state]
    elements = [inner.leaf("input", "x", v.type.with_shape(v.shape[1:])) for v in sequences]
    with importer.recording(inner):
        new, rows = step(list(own_state), list(elements))
    if [v.type for v in new] != [v.type for v in state]:
        raise ManyBodies
    outputs = [*new, *rows]
    if not outputs:
        return [], []
    needed = _needed(inner.nodes, outputs)
    read = {v for node in needed for v in node.inputs}.union(outputs)
    walked = [i for i, leaf in enumerate(elements) if leaf in read]
    body, fixed = _body(outer, needed, own_state, [elements[i] for i in walked], outputs)
    results = outer.emit(
        REGISTRY["scan"],
        [*state, *(sequences[i] for i in walked), *fixed],
        {"body": body, "carries": len(state), "length": length, "reverse": reverse, "sequences": len(walked)},
    )
    return list(results[: len(state)]), list(results[len(state) :])


def _needed(nodes: Sequence[Node], outputs: Sequence[Value]) -> list[Node]:
    read, found = set(outputs), []
    for node in reversed(nodes):
        if not read.isdisjoint(node.outputs):
            read.update(node.inputs)
            found.append(node)
    return found[::-1]


def _body(
    outer: Builder, nodes: Sequence[Node], state: Sequence[Value], elements: Sequence[Value], outputs: Sequence[Value]
) -> tuple[Graph, list[Value]]:  # fmt: skip
    """The body with a leaf for everything it reads from outside, and what that is; `outer` gets what never changes."""
    numbers = {v for node in nodes if not node.inputs for v in node.outputs}
    changing = {*state, *elements}
    builder, fixed = Builder("step"), []
    inside = {v: builder.leaf("input", v.name, v.type) for v in (*state, *elements)}
    outside: dict[Value, Value] = {}

    def before(value: Value) -> Value:
        """The value around the loop."""
        if value not in outside and value in numbers:
            assert value.node is not None
            (outside[value],) = outer.emit(value.node.op, (), value.node.attributes, [value.name])
        return outside.get(value, value)

    def within(value: Value) -> Value:
        """The value in the body."""
        if value not in inside:
            node = value.node
            if node is not None and node.op.name == "constant":
                (inside[value],) = builder.emit(node.op, (), node.attributes, [value.name])
            else:
                fixed.append(before(value))
                inside[value] = builder.leaf("input", value.name, value.type)
        return inside[value]

    for node in nodes:
        names = [v.name for v in node.outputs]
        if not node.inputs:
            continue
        if any(v in changing for v in node.inputs):
            changing.update(node.outputs)
            results = builder.emit(
                node.op, [within(v) for v in node.inputs], node.attributes, names, node.provenance
            )
            inside.update(zip(node.outputs, results, strict=True))
        else:
            results = outer.emit(
                node.op, [before(v) for v in node.inputs], node.attributes, names, node.provenance
            )
            outside.update(zip(node.outputs, results, strict=True))
    found = [within(v) for v in outputs]
    return builder.finish(found, [f"y{i}" for i in range(len(found))]), fixed
