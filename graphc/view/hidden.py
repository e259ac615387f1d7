"""Forward ops that are not drawn: constants, broadcasts, and parameters brought into another shape."""

from __future__ import annotations

from graphc.ir.graph import Node, Value

HIDDEN = ("broadcast_to", "constant")
RESHAPED = ("reshape", "transpose")  # hidden where they only reshape a stored array, as a bias


def is_hidden(node: Node) -> bool:
    """Whether an op of the forward pass is left out of pictures."""
    if node.op.name in RESHAPED:
        return behind(node.inputs[0]).leaf in ("parameter", "constant")
    return node.op.name in HIDDEN


def behind(value: Value) -> Value:
    """The value behind what is not drawn: a leaf, a constant, or the result of an op that is drawn."""
    while value.node is not None and not is_constant(value) and is_hidden(value.node):
        (value,) = value.node.inputs
    return value


def is_constant(value: Value) -> bool:
    return value.node is not None and value.node.op.name == "constant"
