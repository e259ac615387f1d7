"""Loops in ONNX's words: a Scan, or a Loop where there is nothing to walk along."""

from __future__ import annotations

import onnx
from onnx import helper

from graphc.backends.onnx.registry import Names, said
from graphc.backends.onnx.writer import Writer, expanded
from graphc.ir.graph import Graph, Node, Value
from graphc.ops.control import split


@said("scan")
def scan(w: Writer, node: Node, x: Names) -> tuple[str, ...]:
    """What is the same in every step is read from around the loop, as ONNX allows."""
    a = node.attributes
    carries, sequences = a["carries"], a["sequences"]
    body = expanded(a["body"])
    kinds = {"carries": carries, "sequences": sequences}
    state, elements, fixed = split(x, **kinds)
    own_state, own_elements, own_fixed = split(body.inputs, **kinds)
    w.names.update(zip(own_fixed, fixed, strict=True))
    walked = bool(sequences)
    leaves = (
        [] if walked else [number("turn", onnx.TensorProto.INT64), number("going", onnx.TensorProto.BOOL)]
    )
    for leaf in leaves:
        leaf.name = w.unique(leaf.name)
    inner = inside(w, body, (*own_state, *own_elements), leaves)
    outputs = len(body.outputs)
    if not walked:
        count, truth = w.scalar(a["length"]), w.constant(True, bool)
        made = w.add("Loop", [count, truth, *state], node.name, outputs, body=inner)
        results = made if isinstance(made, tuple) else (made,)
        if not a["reverse"]:
            return results
        rows = [
            str(w.add("Slice", [y, *map(w.ints, ([-1], [-(2**62)], [0], [-1]))])) for y in results[carries:]
        ]
        return (*results[:carries], *rows)
    back = int(a["reverse"])
    made = w.add(
        "Scan", [*state, *elements], node.name, outputs, body=inner, num_scan_inputs=sequences,
        scan_input_directions=[back] * sequences if back else None,
        scan_output_directions=[back] * (outputs - carries) if back and outputs > carries else None,
    )  # fmt: skip
    return made if isinstance(made, tuple) else (made,)


def inside(
    w: Writer, body: Graph, leaves: tuple[Value, ...], before: list[onnx.ValueInfoProto]
) -> onnx.GraphProto:
    """The body as a graph of its own, whose inputs are `before` and these leaves; in a Loop it says to go on."""
    outer, sizes, vectors = w.nodes, dict(w.sizes_known), dict(w.vectors_known)
    w.nodes = []
    inputs = [*before, *(w.leaf(value) for value in leaves)]
    w.write(body)
    outputs = []
    if before:
        going = w.unique("still")
        w.nodes.append(helper.make_node("Identity", [before[1].name], [going], name=w.unique("Identity")))
        outputs.append(number(going, onnx.TensorProto.BOOL))
    outputs += w.results(body.outputs, [w.unique("result") for _ in body.outputs])
    made = helper.make_graph(w.nodes, w.unique(body.name or "body"), inputs, outputs)
    w.nodes, w.sizes_known, w.vectors_known = outer, sizes, vectors
    return made


def number(name: str, kind: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ())
