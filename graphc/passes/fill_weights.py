"""Weights that repeat one number become constants, so that they are transformed and packed once like any others.

The array of such a constant is a view of the one number: it takes no memory until something packs it.  Equal weights
share a constant.
"""

from __future__ import annotations

import numpy as np

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.ir.rewriter import ValueMap, rewrite
from graphc.ir.types import TensorType
from graphc.passes.cse import exact_key
from graphc.passes.index_maps import number_of

LARGEST = 1 << 30  # bytes of all of them; a small file may name sizes that no memory holds
COMPOSITE = ("linear",)


def fill_weights(graph: Graph) -> tuple[Graph, ValueMap]:
    """One sweep over the matrix products and convolutions with one operand that is not known."""
    leaves: dict[tuple[object, TensorType], Value] = {}
    data: dict[str, np.ndarray] = {}
    left = LARGEST

    def filled(value: Value) -> Value:
        nonlocal left
        number, size = number_of(value), value.type.nbytes
        if number is None or value.type.rank < 2 or not isinstance(size, int):
            return value
        key = exact_key(number), value.type
        if key not in leaves:
            if size > left:
                return value
            left -= size
            leaves[key] = leaf = Builder.current().leaf("constant", f"{value.name}.filled", value.type)
            data[leaf.name] = np.broadcast_to(np.asarray(number, value.dtype.numpy), value.shape)
        return leaves[key]

    def fill(node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.op.kind not in (Kind.CONTRACTION, Kind.CONVOLUTION) and node.op.name not in COMPOSITE:
            return None
        new = tuple(map(filled, operands))
        if new == operands:
            return None
        return Builder.current().emit(node.op, new, node.attributes, [v.name for v in node.outputs])

    return rewrite(graph, fill, "fill_weights", data=data)
