"""What need not be said in ONNX: broadcasts its operators do themselves, and operations they take in.

`absorbed` looks at a whole graph and says which operand each node reads instead; nodes nobody reads any more are not
written.  So a bias goes into its convolution, limits into one Clip, and no Expand stands before an addition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, Node, Value

SPREADING = {
    "add", "add_n", "bitwise_and", "bitwise_or", "bitwise_xor", "div", "equal", "floor_divide", "fmod", "greater",
    "greater_equal", "less", "less_equal", "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "mul",
    "not_equal", "pow", "remainder", "sub", "where",
}  # fmt: skip
"""Ops whose operands ONNX broadcasts."""


@dataclass(frozen=True, slots=True)
class Absorbed:
    """How nodes are said: the operands each reads, the convolution or limits it takes in, and what is read at all."""

    operands: dict[Node, tuple[Value, ...]]
    convs: dict[Node, Node]
    clips: frozenset[Node]
    read: frozenset[Value]


def absorbed(graph: Graph) -> Absorbed:
    """What each node of the graph reads when as much as possible is left to its neighbours."""
    biases = conv_biases(graph)
    operands: dict[Node, tuple[Value, ...]] = {}
    clips = set()
    for node in graph.nodes:
        limits = _limits(graph, node)
        if node in biases:
            conv, bias = biases[node]
            operands[node] = (*conv.inputs, bias)
        elif limits is not None:
            operands[node] = limits
            clips.add(node)
        else:
            operands[node] = _narrow(node) if node.op.name in SPREADING else node.inputs
    read = set(graph.outputs)
    for node in reversed(graph.nodes):
        if not read.isdisjoint(node.outputs):
            read.update(operands[node])
    convs = {node: conv for node, (conv, _) in biases.items()}
    return Absorbed(operands, convs, frozenset(clips), frozenset(read))


def _narrow(node: Node) -> tuple[Value, ...]:
    """The operands before they were broadcast, as long as together they still have the result's shape."""
    chosen = [before_spreading(v) for v in node.inputs]
    for i, operand in enumerate(node.inputs):
        if _together([v.shape for v in chosen]) == node.output.shape:
            break
        chosen[i] = operand
    return tuple(chosen)


def before_spreading(value: Value) -> Value:
    while value.node is not None and value.node.op.name == "broadcast_to":
        value = value.node.inputs[0]
    return value


def _together(shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...] | None:
    """The shape these broadcast to; None when open sizes do not tell."""
    rank = max(map(len, shapes))
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if size == 1 or size == result[axis]:
                continue
            if result[axis] != 1:
                return None
            result[axis] = size
    return tuple(result)


def _limits(graph: Graph, node: Node) -> tuple[Value, ...] | None:
    """(x, low, high) where a node is a minimum of a maximum with numbers, or the reverse; (x, high) where low is 0."""
    if node.op.name not in ("maximum", "minimum"):
        return None
    other = {"maximum": "minimum", "minimum": "maximum"}[node.op.name]
    for inner, number in (node.inputs, node.inputs[::-1]):
        outer_limit, below = before_spreading(number), inner.node
        if not _is_number(outer_limit) or below is None or below.op.name not in (other, "relu"):
            continue
        if inner in graph.outputs or len(graph.users[inner]) > 1:
            continue
        if below.op.name == "relu":
            if other == "maximum" and _number(outer_limit) >= 0:
                return below.inputs[0], outer_limit
            continue
        for x, number in (below.inputs, below.inputs[::-1]):
            inner_limit = before_spreading(number)
            if _is_number(inner_limit) and x.shape == node.output.shape:
                low, high = (outer_limit, inner_limit) if other == "minimum" else (inner_limit, outer_limit)
                if _number(low) <= _number(high):  # ONNX asks for it
                    return x, low, high
    return None


def _is_number(value: Value) -> bool:
    return value.node is not None and value.node.op.name == "constant" and value.shape == ()


def _number(value: Value) -> float:
    assert value.node is not None
    return float(value.node.attributes["value"])


def turns(node: Node) -> tuple[int, ...]:
    """Which operands of a product must stand transposed before it; none where Gemm reads them so by itself."""
    if node.op.name == "linear":
        return () if node.inputs[0].type.rank == 2 else (1,)
    if node.op.name != "matmul" or all(v.type.rank == 2 for v in node.inputs):
        return ()
    return tuple(i for i, key in enumerate(("transpose_x", "transpose_w")) if node.attributes[key])


def conv_biases(graph: Graph) -> dict[Node, tuple[Node, Value]]:
    """`add` node -> (convolution, bias[O]) wherever an addition does nothing but add a bias to a convolution.

    The convolution has no other reader, so it and the addition can be one.
    """
    found: dict[Node, tuple[Node, Value]] = {}
    for node in graph.nodes:
        if node.op.name != "add":
            continue
        for image, other in (node.inputs, node.inputs[::-1]):
            conv, bias = image.node, per_channel(other)
            if (
                conv is not None
                and conv.op.name == "conv"
                and bias is not None
                and len(graph.users[image]) == 1
                and image not in graph.outputs
            ):
                found[node] = conv, bias
                break
    return found


def per_channel(value: Value) -> Value | None:
    """The bias[O] behind broadcast_to(reshape(bias, [O, 1, 1]), [N, O, H, W]), None for anything else."""
    spread = value.node
    if spread is None or spread.op.name != "broadcast_to":
        return None
    shaped = spread.inputs[0].node
    if shaped is None or shaped.op.name != "reshape":
        return None
    (bias,) = shaped.inputs
    channels, rank = value.shape[1], len(value.shape)
    shape = (1,) * (rank - len(shaped.output.shape)) + shaped.output.shape
    return bias if bias.shape == (channels,) and shape == (1, channels, *(1,) * (rank - 2)) else None
