"""Index maps of cheap movement: which axis of a result each axis of its source becomes.

broadcast_to, and reshapes that only insert or remove axes of size 1, read each source element at a
fixed selection of the result's indices.  Rules look through them, and fusion leaves them to the reader.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.dims import Dim
from graphc.ir.graph import Node, Value

AxisMap = tuple[
    int | None, ...
]  # for each axis of the source: the axis of the result, or None where its size is 1


def squeezed(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    """A shape without its axes of size 1."""
    return tuple(d for d in shape if d != 1)


def is_unit_reshape(node: Node) -> bool:
    """Whether a node is a reshape that only inserts or removes axes of size 1."""
    return node.op.name == "reshape" and squeezed(node.inputs[0].shape) == squeezed(node.outputs[0].shape)


def is_cheap_map(node: Node) -> bool:
    return node.op.name == "broadcast_to" or is_unit_reshape(node)


def source(value: Value) -> tuple[Value, AxisMap]:
    """What a value repeats: the value below its chain of cheap maps, and how its axes lie in this one.

    >>> from graphc.ir.parser import parse_graph
    >>> g = parse_graph('''graph g {
    ...   input %b: f32[3]
    ...   %r: f32[3,1] = reshape %b {shape=(3, 1)}
    ...   %y: f32[2,3,5] = broadcast_to %r {shape=(2, 3, 5)}
    ...   return %y
    ... }''')
    >>> source(g.outputs[0])
    (%b: f32[3], (1,))
    >>> source(g.value("r"))
    (%b: f32[3], (0,))
    """
    positions: list[int | None] = list(range(len(value.shape)))
    while value.node is not None and is_cheap_map(value.node):
        below = value.node.inputs[0]
        positions = _below(below.shape, value.shape, positions, value.node.op.name == "broadcast_to")
        value = below
    return value, tuple(positions)


def _below(
    inner: Sequence[Dim], outer: Sequence[Dim], positions: list[int | None], broadcast: bool
) -> list[int | None]:
    if broadcast:
        lead = len(outer) - len(inner)
        return [positions[lead + i] if inner[i] == outer[lead + i] else None for i in range(len(inner))]
    wide = iter([position for size, position in zip(outer, positions) if size != 1])
    return [next(wide) if size != 1 else None for size in inner]


def wide_axes(shape: Sequence[Dim]) -> tuple[int, ...]:
    """The axes whose size is not 1."""
    return tuple(axis for axis, size in enumerate(shape) if size != 1)


def number_of(value: Value) -> bool | int | float | None:
    """The number a value repeats when it is a constant, else None."""
    root, _ = source(value)
    if root.node is not None and root.node.op.name == "constant":
        number: bool | int | float = root.node.attributes["value"]
        return number
    return None
