"""Reductions over axes, positions of the largest, and running sums."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from graphc import ops
from graphc.frontends.onnx.call import Call, normal_axes, normal_axis
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.builder import Builder
from graphc.ir.graph import Value
from graphc.ir.types import bool_, uint8

Axes = tuple[int, ...]


def _log_sum(x: Value, axes: Axes) -> Value:
    return ops.log(ops.sum(x, axes=axes))


def _norm(x: Value, axes: Axes) -> Value:
    return ops.sqrt(ops.sum(x * x, axes=axes))


REDUCTIONS: dict[str, Callable[[Value, Axes], Value]] = {
    "ReduceL1": lambda x, axes: ops.sum(ops.abs(x), axes=axes),
    "ReduceL2": _norm,
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": lambda x, axes: ops.logsumexp(x, axes=axes),
    "ReduceMax": lambda x, axes: ops.max(x, axes=axes),
    "ReduceMean": lambda x, axes: ops.mean(x, axes=axes),
    "ReduceMin": lambda x, axes: ops.min(x, axes=axes),
    "ReduceProd": lambda x, axes: ops.prod(x, axes=axes),
    "ReduceSum": lambda x, axes: ops.sum(x, axes=axes),
    "ReduceSumSquare": lambda x, axes: ops.sum(x * x, axes=axes),
}
NOTHING = {"ReduceMax": -math.inf, "ReduceMin": math.inf, "ReduceLogSumExp": -math.inf}
"""What a reduction of no elements gives, where the op itself refuses it."""


@onnx_operator(*REDUCTIONS)
def reduce_(call: Call) -> Value:
    x = call[0]
    axes = axes_of(call, x)
    if axes is None:
        return ops.cast(x, dtype=x.dtype) if call.name not in NOTHING else x
    keep = tuple(1 if i in axes else d for i, d in enumerate(x.shape))
    if call.name in NOTHING and any(x.shape[axis] == 0 for axis in axes):
        y = _nothing(call, x, tuple(d for i, d in enumerate(x.shape) if i not in axes))
    elif x.dtype == bool_:
        y = ops.cast(REDUCTIONS[call.name](ops.cast(x, dtype=uint8), axes), dtype=bool_)
    elif not x.dtype.is_float and call.name in ("ReduceMean", "ReduceLogSum", "ReduceLogSumExp", "ReduceL2"):
        from graphc.ir.types import float64

        y = ops.cast(REDUCTIONS[call.name](ops.cast(x, dtype=float64), axes), dtype=x.dtype)
    else:
        y = REDUCTIONS[call.name](x, axes)
    return ops.reshape(y, shape=keep) if call.attribute("keepdims", 1) else y


def axes_of(call: Call, x: Value) -> Axes | None:
    """The axes to reduce; None when nothing is to be done."""
    if call.has(1):
        given: tuple[int, ...] | None = call.ints(1)
    else:
        given = call.attribute("axes")
    if not given:
        if call.attribute("noop_with_empty_axes", 0):
            return None
        return tuple(range(x.type.rank))
    return normal_axes(given, x.type.rank, call.name)


def _nothing(call: Call, x: Value, shape: tuple) -> Value:
    value: float = NOTHING[call.name]
    if not x.dtype.is_float:
        limits = (
            (False, True) if x.dtype == bool_ else (np.iinfo(x.dtype.numpy).min, np.iinfo(x.dtype.numpy).max)
        )
        value = limits[value > 0]
    return Builder.current().constant(value, x.dtype, shape)


@onnx_operator("ArgMax", "ArgMin")
def position(call: Call) -> Value:
    x = call[0]
    axis = call.axis(x.type.rank)
    index_of = ops.argmax if call.name == "ArgMax" else ops.argmin
    if call.attribute("select_last_index", 0):
        found = index_of(ops.reverse(x, axes=(axis,)), axis=axis)
        found = last_of(x, axis) - found
    else:
        found = index_of(x, axis=axis)
    keep = tuple(1 if i == axis else d for i, d in enumerate(x.shape))
    return ops.reshape(found, shape=keep) if call.attribute("keepdims", 1) else found


def last_of(x: Value, axis: int) -> Value | int:
    from graphc.ir.types import int64

    size = x.shape[axis]
    return size - 1 if isinstance(size, int) else ops.dim_size(dim=size, dtype=int64) - 1


@onnx_operator("CumSum", "CumProd")
def running(call: Call) -> Value:
    x = call[0]
    axis = normal_axis(int(call.known(1).reshape(())), x.type.rank, call.name)
    function = ops.cumsum if call.name == "CumSum" else ops.cumprod
    return function(
        x, axis=axis, exclusive=bool(call.attribute("exclusive")), reverse=bool(call.attribute("reverse"))
    )
