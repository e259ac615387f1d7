"""Elements taken from, or put to, positions that are data."""

from __future__ import annotations

from graphc import ops
from graphc.frontends.onnx.call import Call
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.operators.movement import part
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.builder import Builder
from graphc.ir.graph import Value
from graphc.ir.types import bool_, int64

HOW = {"none": "set", "add": "add", "mul": "mul", "max": "max", "min": "min"}


@onnx_operator("Gather")
def gather(call: Call) -> Value:
    return ops.gather(call[0], call[1], axis=call.axis(call[0].type.rank))


@onnx_operator("GatherElements")
def gather_elements(call: Call) -> Value:
    x, indices = call[0], call[1]
    axis = call.axis(x.type.rank)
    if indices.type.rank != x.type.rank:
        raise OnnxError(f"GatherElements: {indices.type} must have the {x.type.rank} dimensions of {x.type}")
    for i, (n, m) in enumerate(zip(x.shape, indices.shape, strict=True)):
        if i != axis and n != m:  # positions of smaller sizes cannot reach the rest
            x = part(x, i, 0, m)
    return ops.gather_elements(x, indices, axis=axis)


@onnx_operator("GatherND")
def gather_nd(call: Call) -> Value:
    return ops.gather_nd(call[0], call[1], batch=call.attribute("batch_dims", 0))


def how(call: Call) -> str:
    """How updates are put together with what is there."""
    found = HOW.get(call.attribute("reduction", "none"))
    if found is None:
        raise OnnxError(f"{call.name} has no reduction {call.attribute('reduction')!r}")
    return found


@onnx_operator("ScatterElements", "Scatter")
def scatter_elements(call: Call) -> Value:
    return ops.put_elements(call[0], call[1], call[2], axis=call.axis(call[0].type.rank), how=how(call))


@onnx_operator("ScatterND")
def scatter_nd(call: Call) -> Value:
    return ops.scatter_nd(call[0], call[1], call[2], how=how(call))


@onnx_operator("TensorScatter")
def tensor_scatter(call: Call) -> Value:
    """A cache with new elements written from a position on, one position for each batch; circular on request."""
    x, updates = call[0], call[1]
    axis = call.axis(x.type.rank, default=-2)
    size, shape = x.shape[axis], updates.shape
    start = call[2] if call.has(2) else Builder.current().constant(0, int64, (x.shape[0],))
    start = ops.broadcast_to(ops.reshape(start, shape=(shape[0], *(1,) * (len(shape) - 1))), shape=shape)
    position = start + ops.iota(shape=shape, axis=axis, dtype=int64)
    if call.attribute("mode", "linear") == "circular":
        position = ops.remainder(
            position, size if isinstance(size, int) else ops.dim_size(dim=size, dtype=int64)
        )
    return ops.put_elements(x, position, updates, axis=axis)


@onnx_operator("OneHot")
def one_hot(call: Call) -> Value:
    indices, depth = call[0], int(call.known(1).reshape(()))
    rank = indices.type.rank + 1
    axis = call.attribute("axis", -1)
    axis = axis + rank if axis < 0 else axis
    if depth < 0 or not 0 <= axis < rank:
        raise OnnxError(f"OneHot of {depth} classes along axis {axis}")
    indices = ops.cast(indices, dtype=int64)
    indices = ops.where(ops.less(indices, 0), indices + depth, indices)
    hot = ops.one_hot(indices, classes=depth, dtype=bool_, axis=axis)
    values = call[2]
    off, on = (ops.reshape(part(values, 0, i, i + 1), shape=()) for i in (0, 1))
    return ops.where(hot, on, off)


@onnx_operator("ReverseSequence")
def reverse_sequence(call: Call) -> Value:
    return reversed_steps(call[0], call[1], call.attribute("time_axis", 0), call.attribute("batch_axis", 1))


def reversed_steps(x: Value, lengths: Value, time: int, batch: int) -> Value:
    """The first elements of each sequence, as many as its length says, in reverse order."""
    index = ops.iota(shape=x.shape, axis=time, dtype=int64)
    spread = tuple(d if i == batch else 1 for i, d in enumerate(x.shape))
    length = ops.reshape(ops.cast(lengths, dtype=int64), shape=spread)
    back = ops.where(ops.less(index, length), length - 1 - index, index)
    return ops.gather_elements(x, back, axis=time)
