"""Arithmetic on sizes that are partly open, as exporters write it: Shape, Gather, Concat, Reshape.

A vector of sizes is a NumPy array of objects, integers and symbolic dimensions.  It stays outside of the graph as
long as the operators below are enough; otherwise each open size becomes a value of the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from graphc import ops
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Value
from graphc.ir.types import int64

if TYPE_CHECKING:
    from graphc.frontends.onnx.call import Call
    from graphc.frontends.onnx.importer import Importer

SIZES: dict[str, Callable[[Call], np.ndarray | None]] = {}


def sizes_array(sizes: tuple[Dim, ...]) -> np.ndarray:
    """A vector of sizes; int64 when all are known."""
    if all(isinstance(size, int) for size in sizes):
        return np.array(sizes, np.int64)
    array = np.empty(len(sizes), object)
    array[:] = sizes
    return array


def as_sizes(importer: Importer, array: np.ndarray) -> Value:
    """A vector of sizes as a value of the graph."""
    parts = []
    for size in array.flat:
        if isinstance(size, int):
            scalar = importer.constant(np.array(size, np.int64))
        else:
            scalar = ops.dim_size(dim=size, dtype=int64)
        parts.append(ops.reshape(scalar, shape=(1,)))
    vector = parts[0] if len(parts) == 1 else ops.concat(*parts, axis=0)
    return ops.reshape(vector, shape=array.shape)


def on_sizes(
    *names: str,
) -> Callable[[Callable[[Call], np.ndarray | None]], Callable[[Call], np.ndarray | None]]:
    """Declare how an operator acts on sizes; None means that it has to become part of the graph."""

    def declare(function: Callable[[Call], np.ndarray | None]) -> Callable[[Call], np.ndarray | None]:
        SIZES.update(dict.fromkeys(names, function))
        return function

    return declare


def _arrays(call: Call) -> list[np.ndarray]:
    importer = call.importer
    return [importer.array_of(v, call.input_name(i)) for i, v in enumerate(call.operands) if v is not None]


@on_sizes("Identity", "Cast")
def identity(call: Call) -> np.ndarray | None:
    (x,) = _arrays(call)
    keeps = call.name == "Identity" or call.dtype("to") == int64
    return x if keeps else None


@on_sizes("Add", "Sub", "Mul")
def arithmetic(call: Call) -> np.ndarray:
    x, y = (array.astype(object) for array in _arrays(call))
    return np.asarray({"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}[call.name](x, y), object)


@on_sizes("Div")
def division(call: Call) -> np.ndarray | None:
    x, y = _arrays(call)
    if y.dtype == object or (y <= 0).any():
        return None
    return np.asarray(np.floor_divide(x.astype(object), y.astype(object)), object)


@on_sizes("Gather")
def gather(call: Call) -> np.ndarray | None:
    x, indices = _arrays(call)
    if x.dtype != object or indices.dtype == object or call.attribute("axis", 0) not in (0, -x.ndim):
        return None
    return np.asarray(x[indices.astype(np.int64)], object)


@on_sizes("Concat")
def concat(call: Call) -> np.ndarray:
    return np.concatenate([array.astype(object) for array in _arrays(call)], axis=call.attribute("axis", 0))


@on_sizes("Unsqueeze", "Squeeze", "Reshape")
def reshaped(call: Call) -> np.ndarray | None:
    x = call.operands[0]
    if not isinstance(x, np.ndarray):
        return None  # sizes say the shape; what is reshaped is a tensor
    if call.name == "Reshape":
        return x.reshape([int(i) for i in call.known(1)])
    axes = call.ints(1) if call.has(1) else call.attribute("axes")
    if call.name == "Unsqueeze":
        return np.expand_dims(x, tuple(axes))
    return np.squeeze(x, None if axes is None else tuple(axes))


@on_sizes("Slice")
def sliced(call: Call) -> np.ndarray | None:
    x = call.operands[0]
    if not isinstance(x, np.ndarray) or x.ndim != 1:
        return None
    if call.version < 10:
        start, stop, step = call.attribute("starts")[0], call.attribute("ends")[0], 1
    else:
        start, stop = call.ints(1)[0], call.ints(2)[0]
        step = call.ints(4)[0] if call.has(4) else 1
    return x[slice(start, stop, step)]


@on_sizes("ReduceProd")
def reduce_product(call: Call) -> np.ndarray | None:
    x = call.operands[0]
    if not isinstance(x, np.ndarray) or x.ndim != 1:
        return None
    total = np.empty((1,) if call.attribute("keepdims", 1) else (), object)
    total[...] = product(x)
    return total
