"""Elements taken from, or put to, positions that are data."""

from __future__ import annotations

from graphc import ops
from graphc.frontends.onnx.call import Call
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.operators.movement import part
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.builder import Builder
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Value
from graphc.ir.types import bool_, int64, uint8
from graphc.ops.elementwise import zeros_like

MAX_STEPS = 64
"""Scattering by product, minimum or maximum takes a step for each position along the axis."""


@onnx_operator("Gather")
def gather(call: Call) -> Value:
    return as_bytes(call[0], lambda x: ops.gather(x, call[1], axis=call.axis(call[0].type.rank)))


def as_bytes(x: Value, function) -> Value:  # type: ignore[no-untyped-def]
    return function(x)


@onnx_operator("GatherElements")
def gather_elements(call: Call) -> Value:
    x, indices = call[0], call[1]
    axis = call.axis(x.type.rank)
    if indices.type.rank != x.type.rank:
        raise OnnxError(f"GatherElements: {indices.type} must have the {x.type.rank} dimensions of {x.type}")
    return ops.gather_elements(_cut(x, indices, axis), indices, axis=axis)


def _cut(x: Value, indices: Value, axis: int) -> Value:
    """x without what positions of smaller sizes cannot reach along the other axes."""
    for i, (n, m) in enumerate(zip(x.shape, indices.shape, strict=True)):
        if i != axis and n != m:
            x = part(x, i, 0, m)
    return x


def _linear(indices: Value, sizes: tuple[Dim, ...]) -> Value:
    """The row-major position for index tuples along the last axis; a negative index counts from the end."""
    total: Value | None = None
    last = indices.type.rank - 1
    indices = indices if indices.dtype == int64 else ops.cast(indices, dtype=int64)
    for place, size in enumerate(sizes):
        index = part(indices, last, place, place + 1)
        bound = size if isinstance(size, int) else ops.dim_size(dim=size, dtype=int64)
        index = ops.where(ops.less(index, 0), index + bound, index)
        total = index if total is None else total * bound + index
    if total is None:
        return Builder.current().constant(0, int64, indices.shape[:-1])
    return ops.reshape(total, shape=indices.shape[:-1])


def _depth(call: Call, x: Value, indices: Value, batch: int) -> int:
    depth = indices.shape[-1] if indices.type.rank else None
    if not isinstance(depth, int) or not batch <= batch + depth <= x.type.rank:
        raise OnnxError(f"{call.name}: positions {indices.type} do not fit {x.type}")
    return depth


@onnx_operator("GatherND")
def gather_nd(call: Call) -> Value:
    """y[b..., i...] = x[b..., indices[b..., i..., :]]."""
    x, indices, batch = call[0], call[1], call.attribute("batch_dims", 0)
    depth = _depth(call, x, indices, batch)
    lead, sizes, rest = x.shape[:batch], x.shape[batch : batch + depth], x.shape[batch + depth :]
    position = _linear(indices, sizes)
    middle = indices.shape[batch:-1]
    if batch:
        position = position + _batch_offset(position, batch, product(sizes))
    flat = ops.reshape(x, shape=(product((*lead, *sizes)), *rest))
    taken = ops.gather(flat, ops.reshape(position, shape=(product((*lead, *middle)),)), axis=0)
    return ops.reshape(taken, shape=(*lead, *middle, *rest))


def _batch_offset(position: Value, batch: int, stride: Dim) -> Value:
    number: Value | None = None
    for axis in range(batch):
        step = ops.iota(shape=position.shape, axis=axis, dtype=int64)
        number = step if number is None else number * _count(position.shape[axis]) + step
    assert number is not None
    return number * _count(stride)


def _count(size: Dim) -> Value | int:
    return size if isinstance(size, int) else ops.dim_size(dim=size, dtype=int64)


@onnx_operator("ScatterElements", "Scatter")
def scatter_elements(call: Call) -> Value:
    x, indices, updates = call[0], call[1], call[2]
    axis = call.axis(x.type.rank)
    if indices.shape != updates.shape or indices.type.rank != x.type.rank:
        raise OnnxError(f"{call.name}: {indices.type} and {updates.type} do not fit {x.type}")
    whole = _cut(x, indices, axis)

    def put(part_of: Value, positions: Value, size: Dim) -> Value:
        return ops.scatter_elements(part_of, positions, axis=axis, size=size)

    def combine(into: Value) -> Value:
        return _scattered(call, into, indices, updates, axis, put)

    y = combine(whole)
    return y if whole is x else _put_back(x, y)


def _put_back(x: Value, corner: Value) -> Value:
    """x with its first elements along each axis replaced."""
    high = tuple(n - m for n, m in zip(x.shape, corner.shape, strict=True))
    zero = (0,) * x.type.rank
    mask = Builder.current().constant(True, bool_, corner.shape)
    mask = ops.pad(mask, low=zero, high=high, interior=zero, value=False)
    return ops.where(mask, ops.pad(corner, low=zero, high=high, interior=zero), x)


def _scattered(call: Call, x: Value, indices: Value, updates: Value, axis: int, put) -> Value:  # type: ignore[no-untyped-def]
    """x with updates put to, or combined with, the elements at the positions along one axis."""
    how, size = call.attribute("reduction", "none"), x.shape[axis]
    if how == "add" and x.dtype != bool_:
        return x + put(updates, indices, size)
    joins = {"none": None, "add": ops.add, "mul": ops.mul, "max": ops.maximum, "min": ops.minimum}
    if how not in joins:
        raise OnnxError(f"{call.name} has no reduction {how!r}")
    if x.dtype == bool_:
        wide = _scattered(call, ops.cast(x, dtype=uint8), indices, ops.cast(updates, dtype=uint8), axis, put)
        return ops.cast(wide, dtype=bool_)
    if how == "none":
        return _set(x, indices, updates, size, put)
    count = indices.shape[axis]
    if not isinstance(count, int) or count > MAX_STEPS:
        raise call.unsupported(f"reduction {how} of {count} positions; up to {MAX_STEPS} are supported")
    join = joins[how]
    assert join is not None
    for step in range(count):
        at, value = part(indices, axis, step, step + 1), part(updates, axis, step, step + 1)
        hit = ops.greater(put(ops.cast(zeros_like(value) + 1, dtype=int64), at, size), 0)
        x = ops.where(hit, join(x, put(value, at, size)), x)
    return x


def _set(x: Value, indices: Value, updates: Value, size: Dim, put) -> Value:  # type: ignore[no-untyped-def]
    """Elements replaced.  ONNX leaves two updates of one place undefined."""
    ones = Builder.current().constant(1, int64, updates.shape)
    hit = ops.greater(put(ones, indices, size), 0)
    return ops.where(hit, put(updates, indices, size), x)


@onnx_operator("ScatterND")
def scatter_nd(call: Call) -> Value:
    """x[indices[i..., :]] replaced by, or combined with, updates[i...]."""
    x, indices, updates = call[0], call[1], call[2]
    depth = _depth(call, x, indices, 0)
    sizes, rest = x.shape[:depth], x.shape[depth:]
    if updates.shape != (*indices.shape[:-1], *rest):
        raise OnnxError(f"ScatterND: updates {updates.type} do not fit {indices.type} into {x.type}")
    count = product(indices.shape[:-1])
    position = ops.reshape(_linear(indices, sizes), shape=(count,))
    flat = ops.reshape(x, shape=(product(sizes), *rest))

    def put(part_of: Value, positions: Value, size: Dim) -> Value:
        return ops.scatter_add(part_of, positions, axis=0, size=size)

    rows = ops.reshape(updates, shape=(count, *rest))
    return ops.reshape(_scattered(call, flat, position, rows, 0, put), shape=x.shape)


@onnx_operator("TensorScatter")
def tensor_scatter(call: Call) -> Value:
    """A cache with new elements written from a position on, one position for each batch; circular on request."""
    x, updates = call[0], call[1]
    axis = call.axis(x.type.rank, default=-2)
    size, count = x.shape[axis], updates.shape[axis]
    start = call[2] if call.has(2) else Builder.current().constant(0, int64, (x.shape[0],))
    shape = updates.shape
    start = ops.broadcast_to(ops.reshape(start, shape=(shape[0], *(1,) * (len(shape) - 1))), shape=shape)
    position = start + ops.iota(shape=shape, axis=axis, dtype=int64)
    if call.attribute("mode", "linear") == "circular":
        position = ops.remainder(position, _count(size))
    del count
    return _set(x, position, updates, size, lambda p, i, n: ops.scatter_elements(p, i, axis=axis, size=n))


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
    """The first elements of each sequence, as many as its length says, in reverse order."""
    x, lengths = call[0], call[1]
    time, batch = call.attribute("time_axis", 0), call.attribute("batch_axis", 1)
    index = ops.iota(shape=x.shape, axis=time, dtype=int64)
    spread = tuple(d if i == batch else 1 for i, d in enumerate(x.shape))
    length = ops.reshape(ops.cast(lengths, dtype=int64), shape=spread)
    back = ops.where(ops.less(index, length), length - 1 - index, index)
    return ops.gather_elements(x, back, axis=time)
