"""Gathering and scattering in ONNX's words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import helper

from graphc.backends.onnx.registry import Names, said
from graphc.backends.onnx.writer import Writer
from graphc.ir.graph import Node


@said("gather")
def gather(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Gather", [x[0], _positions(w, node, x[1])], node.name, axis=node.attributes["axis"]))


def _positions(w: Writer, node: Node, name: str, known: Sequence[str] = ("int32", "int64")) -> str:
    """Positions as int64, unless they are of a type the operator knows."""
    if node.inputs[1].dtype.name in known:
        return name
    return str(w.add("Cast", [name], to=helper.np_dtype_to_tensor_dtype(np.dtype(np.int64))))


@said("gather_elements")
def gather_elements(w: Writer, node: Node, x: Names) -> str:
    return str(
        w.add("GatherElements", [x[0], _positions(w, node, x[1])], node.name, axis=node.attributes["axis"])
    )


@said("scatter_elements")
def scatter_elements(w: Writer, node: Node, x: Names) -> str:
    zeros = w.add("Expand", [w.constant(0, node.output.dtype.numpy), w.sizes(node.output.shape)])
    operands = [zeros, _positions(w, node, x[1]), x[0]]
    return str(w.add("ScatterElements", operands, node.name, axis=node.attributes["axis"], reduction="add"))


@said("scatter_add")
def scatter_add(w: Writer, node: Node, x: Names) -> str:
    zeros = w.add("Expand", [w.constant(0, node.output.dtype.numpy), w.sizes(node.output.shape)])
    return _scattered(w, node, zeros, x[1], x[0], "add")


@said("scatter")
def scatter(w: Writer, node: Node, x: Names) -> str:
    how = {"set": "none"}.get(node.attributes["how"], node.attributes["how"])
    return _scattered(w, node, x[0], x[1], x[2], how)


def _scattered(w: Writer, node: Node, data: str, index: str, updates: str, how: str) -> str:
    """Slices put to positions of one axis: that axis first, as ScatterND wants it."""
    axis, rank = node.attributes["axis"], node.output.type.rank
    many = node.inputs[1].type.rank
    to_front = [axis, *(i for i in range(rank) if i != axis)]
    places = list(range(axis, axis + many))
    wide = rank - 1 + many
    first = [*places, *(i for i in range(wide) if i not in places)]
    index = w.add("Unsqueeze", [_positions(w, node, index, ("int64",)), w.ints([many])])
    rows = w.add("Transpose", [updates], perm=first or None)
    moved = w.add("Transpose", [data], perm=to_front or None)
    done = w.add("ScatterND", [moved, index, rows], reduction=how)
    return str(w.add("Transpose", [done], node.name, perm=[to_front.index(i) for i in range(rank)]))
