"""Operators whose result's size depends on data, and sorting.

Where data decides a size, the data must be known when the model is loaded; the answer becomes a constant.
"""

from __future__ import annotations

import numpy as np

from graphc import ops
from graphc.frontends.onnx.call import Call
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.graph import Value


@onnx_operator("NonZero")
def nonzero(call: Call) -> Value:
    return call.importer.constant(np.array(np.nonzero(call.known(0)), np.int64))


@onnx_operator("Compress")
def compress(call: Call) -> Value:
    x = call[0]
    chosen = np.flatnonzero(call.known(1)).astype(np.int64)
    axis = call.attribute("axis")
    if axis is None:
        x, axis = ops.reshape(x, shape=(x.type.size,)), 0
    return ops.gather(x, call.importer.constant(chosen), axis=axis % x.type.rank)


@onnx_operator("Unique")
def unique(call: Call) -> list[Value]:
    x, axis = call.known(0), call.attribute("axis")
    found, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not call.attribute("sorted", 1):
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        found = np.take(found, order, axis=axis or 0)
        first, counts, inverse = first[order], counts[order], place[inverse]
    return [call.importer.constant(np.asarray(a)) for a in (found, first, inverse, counts)]


@onnx_operator("TopK")
def top_k(call: Call) -> list[Value]:
    """The k largest or smallest along an axis, sorted, and their positions; among equals the first."""
    from graphc.frontends.onnx.operators.movement import part

    x = call[0]
    axis = call.axis(x.type.rank, default=-1)
    k = call.attribute("k") if call.version < 10 else int(call.known(1).reshape(()))
    size = x.shape[axis]
    if k < 0 or isinstance(size, int) and k > size:
        raise OnnxError(f"TopK: {k} of {size} elements")
    largest = bool(call.attribute("largest", 1))
    order = ops.argsort(x, axis=axis, descending=largest)
    index = part(order, axis, 0, k)
    return [ops.gather_elements(x, index, axis=axis), index]
